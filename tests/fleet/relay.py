"""relay.py PORT TARGET FILE: a TCP relay on loopback that delays what the target answers by FILE's milliseconds."""

import asyncio
import sys

port, target, control = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


async def pump(reader, writer, slow):
    try:
        while data := await reader.read(65536):
            delay = int(open(control).read() or 0) if slow else 0
            if delay:
                await asyncio.sleep(delay / 1000)
            writer.write(data)
            await writer.drain()
    except (ConnectionError, OSError):
        pass
    writer.close()


async def serve(reader, writer):
    try:
        there, here = await asyncio.open_connection("127.0.0.1", target)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, here, False), pump(there, writer, True))


async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


asyncio.run(main())
