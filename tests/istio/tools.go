//go:build tools

// Package tools names the programs that go.mod pins.
package tools

import _ "istio.io/istio/istioctl/cmd/istioctl"
