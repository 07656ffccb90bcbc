//! Makes a module count what it runs, in globals: calls of every function, and how often each conditional branch was reached and
//! taken.
//!
//! V8 keeps a module's numeric globals one after the other in memory, so whoever may read the proxy's memory finds them behind
//! [`MARK`]; see `benches/envoy/profile.py`.

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, Function, GlobalSection, GlobalType, Instruction, Module,
    ValType,
};

use crate::functions::{Functions, is_branch};

/// The values of two globals. The next one says how many counters follow.
pub const MARK: [u64; 2] = [0x7f0e_6c6c_6761_7465, 0x2b99_2ddf_a232_49d6];

/// The module with its counters: for each of its functions one of calls, and then for each of its branches one of how often it was
/// reached and one of how often it was taken.
///
/// # Errors
/// `module` is not a valid module.
pub fn module(module: &[u8]) -> Result<Vec<u8>, String> {
    let functions = Functions::read(module)?;
    let counting = Counting {
        functions: &functions,
        next: functions.globals + 3,
    };
    crate::rewritten(module, counting)
}

struct Counting<'a> {
    functions: &'a Functions,
    /// The global that counts next.
    next: u32,
}

impl Counting<'_> {
    fn counter(&mut self) -> u32 {
        let counter = self.next;
        self.next += 1;
        counter
    }
}

const COUNTER: GlobalType = GlobalType {
    val_type: ValType::I64,
    mutable: true,
    shared: false,
};

fn add_one(to: &mut Function, counter: u32) {
    to.instruction(&Instruction::GlobalGet(counter))
        .instruction(&Instruction::I64Const(1))
        .instruction(&Instruction::I64Add)
        .instruction(&Instruction::GlobalSet(counter));
}

impl Reencode for Counting<'_> {
    type Error = String;

    fn parse_global_section(
        &mut self,
        to: &mut GlobalSection,
        from: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error<String>> {
        utils::parse_global_section(self, to, from)?;
        let counters = self.functions.own.iter().map(|f| 1 + 2 * f.branches.len());
        let counters: usize = counters.sum();
        for constant in [MARK[0], MARK[1], counters as u64] {
            to.global(COUNTER, &ConstExpr::i64_const(constant.cast_signed()));
        }
        for _ in 0..counters {
            to.global(COUNTER, &ConstExpr::i64_const(0));
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        to: &mut CodeSection,
        from: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), Error<String>> {
        for (function, body) in self.functions.own.iter().zip(from) {
            let body = body?;
            let (mut locals, mut condition) = (Vec::new(), function.parameters);
            for group in body.get_locals_reader()? {
                let (count, kind) = group?;
                condition += count;
                locals.push((count, self.val_type(kind)?));
            }
            locals.push((1, ValType::I32));
            let mut counted = Function::new(locals);
            let calls = self.counter();
            add_one(&mut counted, calls);
            for operator in body.get_operators_reader()? {
                let operator = operator?;
                if is_branch(&operator) {
                    let (runs, takes) = (self.counter(), self.counter());
                    counted.instruction(&Instruction::LocalTee(condition));
                    add_one(&mut counted, runs);
                    counted
                        .instruction(&Instruction::LocalGet(condition))
                        .instruction(&Instruction::If(BlockType::Empty));
                    add_one(&mut counted, takes);
                    counted.instruction(&Instruction::End);
                }
                counted.instruction(&self.instruction(operator)?);
            }
            to.function(&counted);
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        to: &mut Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Result<(), Error<String>> {
        if section.name() == crate::hints::SECTION {
            return Ok(());
        }
        utils::parse_custom_section(self, to, section)
    }
}
