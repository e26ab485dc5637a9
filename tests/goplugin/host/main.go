// host is a host of go-plugin that does what it reads from stdin.
//
//	host [FLAG...] -- PLUGIN [ARGUMENT...]
//
// A line is a step: {"id": 1, "do": "put", "key": "k", "value": "dg=="}. Steps run at the same time; each is
// answered on stdout, when it is done, with a line {"id": 1, "result": ..., "seconds": 0.01}, or "error" in
// place of "result". Bytes are base64. The end of stdin ends the host as a crash would: nothing is killed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/status"
)

type answer struct {
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result"`
	Error   *failure        `json:"error,omitempty"`
	Seconds float64         `json:"seconds"`
}

// failure is an error: its text, and the code's name and the message if it is a status of gRPC.
type failure struct {
	Text    string `json:"text"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func main() {
	steps, err := takeStdin()
	if err != nil {
		fatal(err)
	}
	s := settings{}
	s.declare()
	flag.Parse()
	h, err := newHost(&s)
	if err != nil {
		fatal(err)
	}
	lock := sync.Mutex{}
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewReader(steps)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		go func() {
			answer := h.answer(line)
			lock.Lock()
			defer lock.Unlock()
			if err := answers.Encode(answer); err != nil {
				fatal(err)
			}
		}()
	}
}

// takeStdin moves the steps to a descriptor that the plugin does not get: go-plugin hands it the host's stdin.
func takeStdin() (io.Reader, error) {
	descriptor, err := syscall.Dup(0)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(descriptor)
	os.Stdin, err = os.Open(os.DevNull)
	return os.NewFile(uintptr(descriptor), "steps"), err
}

func (h *host) answer(line []byte) answer {
	begun := time.Now()
	a := arguments{}
	if err := json.Unmarshal(line, &a); err != nil {
		fatal(err)
	}
	step, ok := steps[a.Do]
	if !ok {
		step = func(*host, *arguments) (any, error) { return nil, fmt.Errorf("no step %q", a.Do) }
	}
	result, err := step(h, &a)
	answer := answer{ID: a.ID, Seconds: time.Since(begun).Seconds()}
	if err == nil {
		answer.Result = result
		return answer
	}
	answer.Error = &failure{Text: err.Error()}
	if status, ok := status.FromError(err); ok {
		answer.Error.Code, answer.Error.Message = status.Code().String(), status.Message()
	}
	return answer
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "host:", err)
	os.Exit(2)
}
