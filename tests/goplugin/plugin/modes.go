package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// mode is what a plugin does that does not serve.
type mode struct {
	line   string
	stderr string
	then   func()
}

const plausible = "1|1|tcp|127.0.0.1:1|grpc\n"

var modes = map[string]mode{
	"mock":                {line: plausible, then: hang},
	"bad-version":         {line: "1|11|tcp|127.0.0.1:1|grpc\n", then: hang},
	"bad-core-version":    {line: "2|1|tcp|127.0.0.1:1|grpc\n", then: hang},
	"bad-network":         {line: "1|1|carrier-pigeon|coop|grpc\n", then: hang},
	"netrpc":              {line: "1|1|tcp|127.0.0.1:1|netrpc\n", then: hang},
	"invalid-rpc-address": {line: "not a handshake\n"},
	"start-timeout":       {then: hang},
	"early-exit":          {stderr: "cannot work here\n"},
	"stderr":              {line: plausible, stderr: "HELLO\nWORLD\n"},
	"stderr-json":         {line: plausible, stderr: "[\"HELLO\"]\n12345\n{\"a\":1}\n"},
	"level-warn-text":     {line: plausible, stderr: "[WARN] test line 98765\n"},
	"stdin":               {line: plausible, then: expectHello},
}

func modeNames() string {
	return strings.Join(slices.Sorted(maps.Keys(modes)), ", ")
}

// misbehave does the mode; flags replace its texts.
func (s *settings) misbehave() error {
	mode, ok := modes[s.mode]
	if !ok {
		return fmt.Errorf("no mode %q; there are: %s", s.mode, modeNames())
	}
	fmt.Print(cmp.Or(s.line, mode.line))
	fmt.Fprint(os.Stderr, cmp.Or(s.stderr, mode.stderr))
	if mode.then != nil {
		mode.then()
	}
	return nil
}

func hang() {
	select {}
}

// expectHello ends well if that is what comes from stdin.
func expectHello() {
	text := make([]byte, len("hello"))
	if _, err := io.ReadFull(os.Stdin, text); err != nil {
		fmt.Fprintln(os.Stderr, "stdin:", err)
		os.Exit(100)
	}
	if string(text) != "hello" {
		os.Exit(1)
	}
}
