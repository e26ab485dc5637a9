package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// conn is the main connection, whatever is served there.
func (h *host) conn() (*grpc.ClientConn, error) {
	protocol, err := h.client.Client()
	if err != nil {
		return nil, err
	}
	client, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return nil, fmt.Errorf("not a plugin that speaks gRPC")
	}
	return client.Conn, nil
}

// call sends bytes as they are to a method "/package.Service/Name", and gives those that come back.
func call(h *host, a *arguments) (any, error) {
	conn, err := h.conn()
	if err != nil {
		return nil, err
	}
	reply := []byte{}
	err = conn.Invoke(context.Background(), a.Method, &a.Value, &reply, grpc.ForceCodec(verbatim{}))
	return reply, err
}

type verbatim struct{}

func (verbatim) Name() string                        { return "proto" }
func (verbatim) Marshal(value any) ([]byte, error)   { return *value.(*[]byte), nil }
func (verbatim) Unmarshal(data []byte, to any) error { *to.(*[]byte) = data; return nil }

// health is a service's status, "plugin" for what go-plugin looks at.
func health(h *host, a *arguments) (any, error) {
	conn, err := h.conn()
	if err != nil {
		return nil, err
	}
	request := &grpc_health_v1.HealthCheckRequest{Service: a.Service}
	response, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), request)
	return response.GetStatus().String(), err
}

func healthList(h *host, _ *arguments) (any, error) {
	conn, err := h.conn()
	if err != nil {
		return nil, err
	}
	response, err := grpc_health_v1.NewHealthClient(conn).List(context.Background(), &grpc_health_v1.HealthListRequest{})
	statuses := object{}
	for name, status := range response.GetStatuses() {
		statuses[name] = status.Status.String()
	}
	return statuses, err
}

// serviceNames are all that reflection lists, in its order.
func serviceNames(h *host, a *arguments) (any, error) {
	request := &reflection.ServerReflectionRequest_ListServices{}
	response, err := h.reflect(a, &reflection.ServerReflectionRequest{MessageRequest: request})
	names := []string{}
	for _, service := range response.GetListServicesResponse().GetService() {
		names = append(names, service.Name)
	}
	return names, err
}

// methodNames are those of a service, by its description.
func methodNames(h *host, a *arguments) (any, error) {
	request := &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: a.Service}
	response, err := h.reflect(a, &reflection.ServerReflectionRequest{MessageRequest: request})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, text := range response.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(text, file); err != nil {
			return nil, err
		}
		for _, service := range file.Service {
			if file.GetPackage()+"."+service.GetName() != a.Service {
				continue
			}
			for _, method := range service.Method {
				names = append(names, method.GetName())
			}
		}
	}
	return names, nil
}

// reflect asks one thing of "v1" or "v1alpha", whose messages are the same on the wire.
func (h *host) reflect(
	a *arguments, request *reflection.ServerReflectionRequest,
) (*reflection.ServerReflectionResponse, error) {
	conn, err := h.conn()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	method := fmt.Sprintf("/grpc.reflection.%s.ServerReflection/ServerReflectionInfo", cmp.Or(a.Version, "v1"))
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return nil, err
	}
	response := &reflection.ServerReflectionResponse{}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return nil, err
	}
	if err := stream.RecvMsg(response); err != nil {
		return nil, err
	}
	if failed := response.GetErrorResponse(); failed != nil {
		return nil, fmt.Errorf("reflection: %d %s", failed.ErrorCode, failed.ErrorMessage)
	}
	return response, nil
}
