package bridge

import (
	"context"
	"io"
	"iter"
	"maps"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// Client runs the tools of a plugin. Its methods may be called from several goroutines at once; errors are *[Error].
type Client struct {
	// BridgeService has the calls themselves, for what this type does not put into words of Go.
	BridgeService bridgev1.BridgeServiceClient
	// HostService has the sessions that the plugin keeps itself as long as no host is attached.
	HostService bridgev1.HostServiceClient

	plugin bridgev1.PluginServiceClient
	broker *plugin.GRPCBroker

	attaching sync.Mutex
	attached  *grpc.Server
}

func newClient(broker *plugin.GRPCBroker, conn *grpc.ClientConn) *Client {
	return &Client{
		BridgeService: bridgev1.NewBridgeServiceClient(conn),
		HostService:   bridgev1.NewHostServiceClient(conn),
		plugin:        bridgev1.NewPluginServiceClient(conn),
		broker:        broker,
	}
}

// A CallOption changes one call.
type CallOption func(*call)

type call struct {
	request  *bridgev1.ExecuteToolRequest
	progress func(Progress)
}

// Progress is how far a tool is.
type Progress struct {
	// Fraction is the done part of the work, from 0 to 1; nil if the tool cannot tell.
	Fraction *float64
	// Message says what it is doing, for people.
	Message string
}

// InSession makes the call in a session, whose variables the tool may use.
func InSession(id string) CallOption {
	return func(c *call) { c.request.SessionId = id }
}

// WithMetadata gives the tool free text.
func WithMetadata(text map[string]string) CallOption {
	return func(c *call) { c.request.Metadata = maps.Clone(text) }
}

// OnProgress is told how far a streaming tool is, between its values.
func OnProgress(tell func(Progress)) CallOption {
	return func(c *call) { c.progress = tell }
}

func newCall(tool string, arguments map[string]any, options []CallOption) (*call, error) {
	request := &bridgev1.ExecuteToolRequest{ToolName: tool}
	for _, name := range sortedKeys(arguments) {
		if err := addArgument(request, name, arguments[name]); err != nil {
			return nil, at("$", inside(name, err))
		}
	}
	made := &call{request: request, progress: func(Progress) {}}
	for _, option := range options {
		option(made)
	}
	return made, nil
}

// Call runs a tool and returns its result; [Unpack] says what that may be. The deadline of the context goes along, and a
// context that ends cancels the tool.
func (c *Client) Call(ctx context.Context, tool string, arguments map[string]any, options ...CallOption) (any, error) {
	made, err := newCall(tool, arguments, options)
	if err != nil {
		return nil, err
	}
	response, err := c.BridgeService.ExecuteTool(onwards(ctx), made.request)
	if err != nil {
		return nil, errorOf(err)
	}
	if response.Result != nil {
		return Unpack(response.Result)
	}
	return binary(response.BinaryResult), nil
}

// Stream runs a tool that yields, and gives what it yields while it runs. An error is the last that comes. Leaving the
// loop, or the end of the context, cancels the tool.
func (c *Client) Stream(ctx context.Context, tool string, arguments map[string]any, options ...CallOption) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		made, err := newCall(tool, arguments, options)
		if err != nil {
			yield(nil, err)
			return
		}
		ctx, cancel := context.WithCancel(onwards(ctx))
		defer cancel()
		stream, err := c.BridgeService.ExecuteStreamingTool(ctx, made.request)
		if err != nil {
			yield(nil, errorOf(err))
			return
		}
		if err := made.follow(stream, yield); err != nil {
			yield(nil, errorOf(err))
		}
	}
}

// follow reads a stream to its end, or until nobody wants any more.
func (c *call) follow(stream grpc.ServerStreamingClient[bridgev1.ToolChunk], yield func(any, error) bool) error {
	isFinal := false
	for expected := int64(0); ; expected++ {
		chunk, err := stream.Recv()
		switch {
		case err == io.EOF && isFinal:
			return nil
		case err == io.EOF:
			return damaged("the stream ended without a final chunk")
		case err != nil:
			return err
		case isFinal || chunk.Sequence != expected:
			return damaged("a chunk is missing, or follows the final one")
		}
		isFinal = chunk.IsFinal
		if chunk.Progress != nil {
			c.progress(Progress{chunk.Progress.Fraction, chunk.Progress.Message})
		}
		if chunk.Value == nil && chunk.Data == nil {
			continue
		}
		value := binary(chunk.Data)
		if chunk.Value != nil {
			if value, err = Unpack(chunk.Value); err != nil {
				return err
			}
		}
		if !yield(value, nil) {
			return nil
		}
	}
}

// Tools are the plugin's tools with their schemas, sorted by name.
func (c *Client) Tools(ctx context.Context) ([]*bridgev1.ToolSpec, error) {
	response, err := c.BridgeService.ListTools(ctx, &bridgev1.ListToolsRequest{})
	return response.GetTools(), errorOf(err)
}

// Info says which server this is, and what it can do.
func (c *Client) Info(ctx context.Context) (*bridgev1.GetServerInfoResponse, error) {
	response, err := c.BridgeService.GetServerInfo(ctx, &bridgev1.GetServerInfoRequest{})
	return response, errorOf(err)
}

// OpenSession opens a session that the plugin itself keeps, and returns its id for [InSession]. It ends when it has not
// been used for as long as the plugin's setting session_ttl says. While a host is attached, that has the sessions.
func (c *Client) OpenSession(ctx context.Context) (string, error) {
	response, err := c.HostService.OpenSession(ctx, &bridgev1.OpenSessionRequest{})
	return response.GetSession().GetSessionId(), errorOf(err)
}

func addArgument(request *bridgev1.ExecuteToolRequest, name string, value any) error {
	if err := checkText(name); err != nil {
		return err
	}
	if data, ok := value.([]byte); ok {
		if request.BinaryParameters == nil {
			request.BinaryParameters = map[string][]byte{}
		}
		request.BinaryParameters[name] = data
		return nil
	}
	packed, err := pack(value, 0)
	if request.Parameters == nil {
		request.Parameters = map[string]*anypb.Any{}
	}
	request.Parameters[name] = packed
	return err
}

// binary is a field of bytes that may be absent.
func binary(data []byte) any {
	if data == nil {
		return nil
	}
	return data
}

func damaged(problem string) error {
	message := "the answer is damaged: " + problem + "; do both sides speak the same version?"
	return &Error{Code: codes.DataLoss, Reason: "BAD_RESPONSE", Message: message}
}

// What tells of the calls around a call: the path by which circles are found, and the trace.
var aroundCalls = []string{"bridge-call-path", "traceparent", "tracestate", "baggage"}

// onwards makes a call that a function of the host makes for a tool known as a call inside that tool's.
func onwards(ctx context.Context) context.Context {
	incoming, isInside := metadata.FromIncomingContext(ctx)
	if !isInside {
		return ctx
	}
	outgoing, _ := metadata.FromOutgoingContext(ctx)
	for _, key := range aroundCalls {
		if value := incoming.Get(key); len(value) > 0 && len(outgoing.Get(key)) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, key, value[0])
		}
	}
	return ctx
}
