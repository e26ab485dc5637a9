package bridge

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// answers is a plugin of which every method can be chosen.
type answers struct {
	bridgev1.UnimplementedBridgeServiceServer
	execute func(context.Context, *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error)
	chunks  []*bridgev1.ToolChunk
	ended   chan struct{}
}

func (a *answers) ExecuteTool(ctx context.Context, request *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error) {
	return a.execute(ctx, request)
}

func (a *answers) ExecuteStreamingTool(_ *bridgev1.ExecuteToolRequest, stream grpc.ServerStreamingServer[bridgev1.ToolChunk]) error {
	for _, chunk := range a.chunks {
		if err := stream.Send(chunk); err != nil {
			return err
		}
	}
	if a.ended != nil {
		<-stream.Context().Done()
		close(a.ended)
	}
	return nil
}

func connectClient(t *testing.T, plugin *answers) *Client {
	t.Helper()
	return newClient(nil, connect(t, func(server *grpc.Server) { bridgev1.RegisterBridgeServiceServer(server, plugin) }))
}

func TestACallTakesItsArgumentsAlongAndGivesTheResult(t *testing.T) {
	client := connectClient(t, &answers{
		execute: func(ctx context.Context, request *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error) {
			if string(request.BinaryParameters["data"]) != "\xff" || request.SessionId != "s" || request.Metadata["k"] != "v" {
				return nil, errors.New("arguments are missing")
			}
			if _, limited := ctx.Deadline(); !limited {
				return nil, errors.New("the deadline is missing")
			}
			return &bridgev1.ExecuteToolResponse{Result: request.Parameters["a"]}, nil
		},
	})
	arguments := map[string]any{"a": []int{1, 2}, "data": []byte{0xff}}
	result, err := client.Call(limited(t), "echo", arguments, InSession("s"), WithMetadata(map[string]string{"k": "v"}))
	if err != nil || !reflect.DeepEqual(result, []any{int64(1), int64(2)}) {
		t.Fatal(result, err)
	}
}

func TestBytesAreAResultAndSoIsNothing(t *testing.T) {
	for _, want := range []any{[]byte{}, []byte{1}, nil} {
		response := &bridgev1.ExecuteToolResponse{}
		if data, isBytes := want.([]byte); isBytes {
			response.BinaryResult = data
		}
		client := connectClient(t, &answers{
			execute: func(context.Context, *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error) {
				return response, nil
			},
		})
		if result, err := client.Call(limited(t), "x", nil); err != nil || !reflect.DeepEqual(result, want) {
			t.Fatalf("got %#v (%v), want %#v", result, err, want)
		}
	}
}

func TestAnArgumentThatCannotTravelIsRefusedBeforeTheCall(t *testing.T) {
	client := connectClient(t, &answers{})
	_, err := client.Call(limited(t), "x", map[string]any{"rows": []any{make(chan int)}})
	refused := wants(t, err, codes.InvalidArgument, "UNSUPPORTED_VALUE")
	if refused.Violations[0].Field != "$.rows[0]" {
		t.Fatal(refused.Violations)
	}
}

func TestAnErrorOfAToolKeepsAllThatIsKnownOfIt(t *testing.T) {
	after := 250 * time.Millisecond
	told := &Error{
		Code:       codes.ResourceExhausted,
		Reason:     "SERVER_BUSY",
		Message:    "too many calls",
		Metadata:   map[string]string{"limit": "8"},
		Violations: []Violation{{"$.a", "is wrong"}},
		RetryAfter: &after,
	}
	client := connectClient(t, &answers{
		execute: func(context.Context, *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error) {
			return nil, told
		},
	})
	_, err := client.Call(limited(t), "x", nil)
	var got *Error
	if !errors.As(err, &got) || !reflect.DeepEqual(got, told) {
		t.Fatalf("got %#v, want %#v", err, told)
	}
}

func TestADeadlineThatIsOverIsTheContextsError(t *testing.T) {
	client := connectClient(t, &answers{
		execute: func(ctx context.Context, _ *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Call(ctx, "x", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestACallInsideAToolIsKnownAsOne(t *testing.T) {
	var path []string
	client := connectClient(t, &answers{
		execute: func(ctx context.Context, _ *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error) {
			incoming, _ := metadata.FromIncomingContext(ctx)
			path = incoming.Get("bridge-call-path")
			return &bridgev1.ExecuteToolResponse{}, nil
		},
	})
	ctx := metadata.NewIncomingContext(limited(t), metadata.Pairs("bridge-call-path", "a,b"))
	if _, err := client.Call(ctx, "x", nil); err != nil || !reflect.DeepEqual(path, []string{"a,b"}) {
		t.Fatal(path, err)
	}
}

func TestAStreamGivesItsValuesInOrderAndTellsOfProgress(t *testing.T) {
	client := connectClient(t, &answers{chunks: []*bridgev1.ToolChunk{
		{Value: packed(t, 1)},
		{Sequence: 1, Progress: &bridgev1.Progress{Fraction: proto.Float64(0.5), Message: "half"}},
		{Sequence: 2, Data: []byte{}},
		{Sequence: 3, Value: packed(t, nil), IsFinal: true},
	}})
	var values []any
	var told []string
	progress := OnProgress(func(p Progress) { told = append(told, p.Message) })
	for value, err := range client.Stream(limited(t), "x", nil, progress) {
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	if !reflect.DeepEqual(values, []any{int64(1), []byte{}, nil}) || !reflect.DeepEqual(told, []string{"half"}) {
		t.Fatal(values, told)
	}
}

func TestAStreamWithAGapOrWithoutAnEndIsDamaged(t *testing.T) {
	for _, chunks := range [][]*bridgev1.ToolChunk{
		{{Value: packed(t, 1)}},
		{{Sequence: 1, IsFinal: true}},
		{{IsFinal: true}, {Sequence: 1, IsFinal: true}},
	} {
		client := connectClient(t, &answers{chunks: chunks})
		var last error
		for _, err := range client.Stream(limited(t), "x", nil) {
			last = err
		}
		wants(t, last, codes.DataLoss, "BAD_RESPONSE")
	}
}

func TestLeavingAStreamCancelsTheTool(t *testing.T) {
	plugin := &answers{chunks: []*bridgev1.ToolChunk{{Value: packed(t, 1)}}, ended: make(chan struct{})}
	client := connectClient(t, plugin)
	ctx := limited(t)
	for range client.Stream(ctx, "x", nil) {
		break
	}
	select {
	case <-plugin.ended:
	case <-ctx.Done():
		t.Fatal("the tool is still running")
	}
}
