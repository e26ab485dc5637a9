package main

import (
	"context"
	"io"
	"os/exec"
	"strconv"

	"github.com/hashicorp/go-plugin/runner"
)

// process runs a command as go-plugin would, but is a RunnerFunc's: only then does a plugin get a folder for its
// sockets.
type process struct {
	command        *exec.Cmd
	stdout, stderr io.ReadCloser
	pid            int
}

var _ runner.Runner = (*process)(nil)

func newProcess(command *exec.Cmd) (*process, error) {
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := command.StderrPipe()
	return &process{command: command, stdout: stdout, stderr: stderr}, err
}

func (p *process) Start(context.Context) error {
	err := p.command.Start()
	if err == nil {
		p.pid = p.command.Process.Pid
	}
	return err
}

func (p *process) Wait(context.Context) error      { return p.command.Wait() }
func (p *process) Kill(context.Context) error      { return p.command.Process.Kill() }
func (p *process) Diagnose(context.Context) string { return "started by a RunnerFunc" }
func (p *process) Stdout() io.ReadCloser           { return p.stdout }
func (p *process) Stderr() io.ReadCloser           { return p.stderr }
func (p *process) Name() string                    { return p.command.Path }
func (p *process) ID() string                      { return strconv.Itoa(p.pid) }
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
