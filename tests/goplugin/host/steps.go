package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	"github.com/hashicorp/go-plugin"

	"toolbridge.test/goplugin/services"
)

// arguments are those of all steps.
type arguments struct {
	ID      json.RawMessage   `json:"id"`
	Do      string            `json:"do"`
	Key     string            `json:"key"`
	Value   []byte            `json:"value"`
	Number  int64             `json:"number"`
	Times   int               `json:"times"`
	Size    int               `json:"size"`
	Service string            `json:"service"`
	Method  string            `json:"method"`
	Version string            `json:"version"`
	Stdout  []byte            `json:"stdout"`
	Stderr  []byte            `json:"stderr"`
	Sizes   [2]int            `json:"sizes"`
	Code    int32             `json:"code"`
	Level   string            `json:"level"`
	Message string            `json:"message"`
	Pairs   map[string]string `json:"pairs"`
}

type object = map[string]any

var steps map[string]func(*host, *arguments) (any, error)

func init() {
	steps = map[string]func(*host, *arguments) (any, error){
		"start":           start,
		"connect":         connect,
		"dispense":        dispense,
		"ping":            ping,
		"kill":            kill,
		"cleanup":         cleanup,
		"exited":          exited,
		"reattach_config": reattachConfig,
		"logs":            logs,
		"stdio":           stdio,
		"stderr":          stderr,
		"leave":           leave,

		"put": put, "get": get, "big": big, "count": count, "counter_get": counterGet, "helper": helper, "dial": dial,
		"stream": stream, "collect": collect, "chat": chat,
		"info": info, "print": print, "log": log, "hang": hang, "panic": panicking, "exit": exit,
		"call": call, "health": health, "health_list": healthList, "services": serviceNames, "methods": methodNames,
	}
}

// start has the plugin running, and its line read; nothing is connected.
func start(h *host, _ *arguments) (any, error) {
	address, err := h.client.Start()
	if err != nil {
		return nil, err
	}
	result := object{
		"network": address.Network(), "address": address.String(), "version": h.client.NegotiatedVersion(),
		"protocol": h.client.Protocol(), "pid": 0,
	}
	if h.command != nil && h.command.Process != nil {
		result["pid"] = h.command.Process.Pid
	}
	return result, nil
}

// connect opens what every connection has: broker and stdio.
func connect(h *host, _ *arguments) (any, error) {
	_, err := h.client.Client()
	return nil, err
}

func dispense(h *host, a *arguments) (any, error) {
	_, err := h.dispense(a.Service)
	return nil, err
}

func ping(h *host, _ *arguments) (any, error) {
	protocol, err := h.client.Client()
	if err != nil {
		return nil, err
	}
	return nil, protocol.Ping()
}

// kill ends the plugin. Says how it has ended, if it was our child and is dead.
func kill(h *host, _ *arguments) (any, error) {
	h.client.Kill()
	return h.ending(), nil
}

func cleanup(h *host, _ *arguments) (any, error) {
	plugin.CleanupClients()
	return h.ending(), nil
}

func (h *host) ending() object {
	result := object{
		"forced": bytes.Contains(h.log.atLeast(0), []byte("plugin failed to exit gracefully")),
		"exited": h.client.Exited(), "exit_code": nil, "signal": nil,
	}
	if h.command == nil || h.command.ProcessState == nil {
		return result
	}
	state := h.command.ProcessState.Sys().(syscall.WaitStatus)
	if state.Exited() {
		result["exit_code"] = state.ExitStatus()
	} else {
		result["signal"] = int(state.Signal())
	}
	return result
}

func exited(h *host, _ *arguments) (any, error) {
	return h.client.Exited(), nil
}

func reattachConfig(h *host, _ *arguments) (any, error) {
	config := h.client.ReattachConfig()
	if config == nil {
		return nil, fmt.Errorf("there is nothing to attach to")
	}
	return services.ReattachOf(config), nil
}

func logs(h *host, _ *arguments) (any, error) {
	return h.entries()
}

// stdio is what the plugin has printed, when it is at least so much.
func stdio(h *host, a *arguments) (any, error) {
	return object{"stdout": h.syncStdout.atLeast(a.Sizes[0]), "stderr": h.syncStderr.atLeast(a.Sizes[1])}, nil
}

// stderr is the file of the plugin's process, in which go-plugin expects logs, when it is at least so much.
func stderr(h *host, a *arguments) (any, error) {
	return h.stderr.atLeast(a.Size), nil
}

// leave ends the host, and kills nothing.
func leave(*host, *arguments) (any, error) {
	os.Exit(0)
	return nil, nil
}
