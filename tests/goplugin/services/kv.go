package services

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"toolbridge.test/goplugin/wire"
)

// kv remembers values until the process ends.
type kv struct {
	wire.UnimplementedKVServer
	lock   sync.Mutex
	values map[string][]byte
}

func newKV() *kv {
	return &kv{values: map[string][]byte{}}
}

func (k *kv) Get(_ context.Context, request *wire.GetRequest) (*wire.GetResponse, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	value, ok := k.values[request.Key]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no value for %q", request.Key)
	}
	return &wire.GetResponse{Value: value}, nil
}

func (k *kv) Put(_ context.Context, request *wire.PutRequest) (*wire.Empty, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	k.values[request.Key] = request.Value
	return &wire.Empty{}, nil
}
