package services

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"google.golang.org/grpc"

	"toolbridge.test/goplugin/wire"
)

type streamer struct {
	wire.UnimplementedStreamerServer
}

func (streamer) Echo(_ context.Context, request *wire.Chunk) (*wire.Chunk, error) {
	return request, nil
}

func (streamer) Count(request *wire.CountRequest, stream grpc.ServerStreamingServer[wire.Chunk]) error {
	for number := range int(request.Chunks) {
		if err := stream.Send(&wire.Chunk{Data: Numbered(number, int(request.ChunkBytes))}); err != nil {
			return err
		}
	}
	return nil
}

func (streamer) Collect(stream grpc.ClientStreamingServer[wire.Chunk, wire.Summary]) error {
	summary := &wire.Summary{}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(summary)
		}
		if err != nil {
			return err
		}
		summary.Chunks++
		summary.Bytes += uint64(len(chunk.Data))
	}
}

func (streamer) Chat(stream grpc.BidiStreamingServer[wire.Chunk, wire.Chunk]) error {
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(chunk); err != nil {
			return err
		}
	}
}

// Numbered is a number's digits, filled up with dots to so many bytes.
func Numbered(number, size int) []byte {
	digits := []byte(strconv.Itoa(number))
	return append(digits, bytes.Repeat([]byte("."), max(0, size-len(digits)))...)
}
