package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"toolbridge.test/goplugin/services"
)

// host has one plugin.
type host struct {
	config                              *plugin.ClientConfig
	client                              *plugin.Client
	command                             *exec.Cmd
	log, stderr, syncStdout, syncStderr collected
}

func newHost(s *settings) (*host, error) {
	h := &host{}
	for _, c := range []*collected{&h.log, &h.stderr, &h.syncStdout, &h.syncStderr} {
		c.grown = sync.NewCond(&c.lock)
	}
	config, err := s.client(h)
	if err != nil {
		return nil, err
	}
	h.config = config
	h.client = plugin.NewClient(config)
	return h, nil
}

// logger is what go-plugin logs with: everything, as JSON.
func (h *host) logger(path string) (hclog.Logger, error) {
	var output io.Writer = &h.log
	if path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		output = io.MultiWriter(output, file)
	}
	return hclog.New(&hclog.LoggerOptions{Name: "host", Level: hclog.Trace, Output: output, JSONFormat: true}), nil
}

// dispense starts the plugin, the first time, and gives the connection.
func (h *host) dispense(name string) (*services.Connection, error) {
	protocol, err := h.client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense(name)
	if err != nil {
		return nil, err
	}
	return raw.(*services.Connection), nil
}

// entries are what has been logged, parsed.
func (h *host) entries() ([]json.RawMessage, error) {
	entries := []json.RawMessage{}
	decoder := json.NewDecoder(bytes.NewReader(h.log.atLeast(0)))
	for decoder.More() {
		entry := json.RawMessage{}
		if err := decoder.Decode(&entry); err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// collected is what has been written.
type collected struct {
	lock  sync.Mutex
	grown *sync.Cond
	data  []byte
}

func (c *collected) Write(data []byte) (int, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.data = append(c.data, data...)
	c.grown.Broadcast()
	return len(data), nil
}

// atLeast waits until that many bytes have come, and gives all.
func (c *collected) atLeast(size int) []byte {
	c.lock.Lock()
	defer c.lock.Unlock()
	for len(c.data) < size {
		c.grown.Wait()
	}
	return append([]byte{}, c.data...) // never nil: that would be null in JSON
}
