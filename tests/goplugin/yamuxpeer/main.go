// yamuxpeer is one side of a yamux session that does what it reads from stdin:
// a line "TAG COMMAND [ARGUMENT...]" each, all at the same time, answered on
// stdout with "TAG ok [RESULT...]" or "TAG error TEXT".
package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// piece is what is written and read at a time.
const piece = 64 * 1024

type peer struct {
	session *yamux.Session
	lock    sync.Mutex
	streams map[string]*yamux.Stream
}

func main() {
	address := flag.String("socket", "", "path of a Unix socket")
	listen := flag.Bool("listen", false, "listen there, and take one connection, instead of connecting")
	client := flag.Bool("client", false, "be the client of the session")
	keepalive := flag.Duration("keepalive", 0, "between pings; 0: none")
	closeTimeout := flag.Duration("close-timeout", 5*time.Minute, "until half-closed streams are reset")
	window := flag.Uint("window", 256*1024, "bytes of a stream that are received before they are read")
	backlog := flag.Int("backlog", 256, "streams that wait to be accepted")
	flag.Parse()

	config := yamux.DefaultConfig()
	config.EnableKeepAlive = *keepalive > 0
	if *keepalive > 0 {
		config.KeepAliveInterval = *keepalive
	}
	config.StreamCloseTimeout = *closeTimeout
	config.MaxStreamWindowSize = uint32(*window)
	config.AcceptBacklog = *backlog
	connection, err := connect(*address, *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	begin := yamux.Server
	if *client {
		begin = yamux.Client
	}
	session, err := begin(connection, config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serve(&peer{session: session, streams: map[string]*yamux.Stream{}})
}

func connect(address string, listen bool) (net.Conn, error) {
	if !listen {
		return net.Dial("unix", address)
	}
	listener, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	fmt.Println("listening")
	return listener.Accept()
}

func serve(p *peer) {
	var lock sync.Mutex
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		go func() {
			result, err := p.do(words[1], words[2:])
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				fmt.Println(words[0], "error", err)
			} else {
				fmt.Println(words[0], "ok", result)
			}
		}()
	}
}

func (p *peer) do(command string, arguments []string) (string, error) {
	switch command {
	case "open":
		stream, err := p.session.OpenStream()
		return p.keep(stream, err)
	case "accept":
		stream, err := p.session.AcceptStream()
		return p.keep(stream, err)
	case "ping":
		_, err := p.session.Ping()
		return "", err
	case "goaway":
		return "", p.session.GoAway()
	case "close":
		return "", p.session.Close()
	case "streams":
		return strconv.Itoa(p.session.NumStreams()), nil
	case "closed":
		<-p.session.CloseChan()
		_, err := p.session.AcceptStream()
		return "", err
	case "echo":
		go p.echoAll()
		return "", nil
	case "ask":
		return p.askMany(arguments)
	}
	return p.doInStream(command, arguments)
}

func (p *peer) keep(stream *yamux.Stream, err error) (string, error) {
	if err != nil {
		return "", err
	}
	name := strconv.Itoa(int(stream.StreamID()))
	p.lock.Lock()
	defer p.lock.Unlock()
	p.streams[name] = stream
	return name, nil
}

func (p *peer) doInStream(command string, arguments []string) (string, error) {
	p.lock.Lock()
	stream := p.streams[arguments[0]]
	p.lock.Unlock()
	if stream == nil {
		return "", errors.New("no such stream")
	}
	switch command {
	case "write":
		size, err := strconv.Atoi(arguments[1])
		if err != nil {
			return "", err
		}
		return "", write(stream, size)
	case "read":
		size, err := strconv.ParseInt(arguments[1], 10, 64)
		if err != nil {
			return "", err
		}
		return digest(io.LimitReader(stream, size))
	case "drain":
		return digest(stream)
	case "finish":
		return "", stream.Close()
	}
	return "", errors.New("no such command")
}

// echoAll sends everything back, in every stream.
func (p *peer) echoAll() {
	for {
		stream, err := p.session.AcceptStream()
		if err != nil {
			return
		}
		go func() {
			defer stream.Close()
			_, _ = io.CopyBuffer(struct{ io.Writer }{stream}, struct{ io.Reader }{stream}, make([]byte, piece))
		}()
	}
}

// askMany opens streams, some at a time, and expects that what it writes comes back.
func (p *peer) askMany(arguments []string) (string, error) {
	var numbers [3]int
	for place := range numbers {
		number, err := strconv.Atoi(arguments[place])
		if err != nil {
			return "", err
		}
		numbers[place] = number
	}
	count, together, size := numbers[0], numbers[1], numbers[2]
	results := make(chan error, count)
	places := make(chan struct{}, together)
	for range count {
		places <- struct{}{}
		go func() {
			results <- p.ask(size)
			<-places
		}()
	}
	for range count {
		if err := <-results; err != nil {
			return "", err
		}
	}
	return "", nil
}

func (p *peer) ask(size int) error {
	stream, err := p.session.OpenStream()
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() {
		err := write(stream, size)
		if err == nil {
			err = stream.Close()
		}
		written <- err
	}()
	got, err := digest(stream)
	if err != nil {
		return err
	}
	expected := sha256.New()
	if err := write(expected, size); err != nil {
		return err
	}
	if got != fmt.Sprintf("%d %x", size, expected.Sum(nil)) {
		return errors.New("not what was written came back")
	}
	return <-written
}

// write writes bytes that count from 0 to 250, again and again.
func write(writer io.Writer, size int) error {
	const round = 251
	pattern := make([]byte, piece+round)
	for place := range pattern {
		pattern[place] = byte(place % round)
	}
	for sent := 0; sent < size; {
		begin := sent % round
		part := pattern[begin : begin+min(piece, size-sent)]
		count, err := writer.Write(part)
		sent += count
		if err != nil {
			return err
		}
	}
	return nil
}

// digest reads to the end, and says how much there was, and its SHA-256.
func digest(reader io.Reader) (string, error) {
	hash := sha256.New()
	count, err := io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{reader}, make([]byte, piece))
	return fmt.Sprintf("%d %x", count, hash.Sum(nil)), err
}
