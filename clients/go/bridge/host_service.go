package bridge

import (
	"context"
	"regexp"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// hostService answers a plugin for a Host. What it does not have has a text of its own in host_unimplemented.go.
type hostService struct {
	bridgev1.UnimplementedHostServiceServer
	host Host
}

var toolForm = regexp.MustCompile(`^tool:[A-Za-z0-9_.-]{1,128}$`)

func scopeOf(ctx context.Context, session string) Scope {
	scope := Scope{Session: session, ChangedBy: "client"}
	incoming, _ := metadata.FromIncomingContext(ctx)
	if writer := incoming.Get("bridge-changed-by"); len(writer) > 0 && toolForm.MatchString(writer[0]) {
		scope.ChangedBy = writer[0]
	}
	return scope
}

func (s *hostService) GetVariable(ctx context.Context, request *bridgev1.GetVariableRequest) (*bridgev1.GetVariableResponse, error) {
	found, err := s.host.GetVariables(ctx, scopeOf(ctx, request.SessionId), []string{request.Name})
	if err != nil {
		return nil, errorOf(err)
	}
	variable, isThere := found[request.Name]
	if !isThere {
		return nil, variableNotFound(request.Name)
	}
	message, err := variableMessage(variable)
	return &bridgev1.GetVariableResponse{Variable: message}, err
}

func (s *hostService) GetVariables(ctx context.Context, request *bridgev1.GetVariablesRequest) (*bridgev1.GetVariablesResponse, error) {
	found, err := s.host.GetVariables(ctx, scopeOf(ctx, request.SessionId), request.Names)
	if err != nil {
		return nil, errorOf(err)
	}
	response := &bridgev1.GetVariablesResponse{Variables: map[string]*bridgev1.Variable{}}
	for _, name := range request.Names {
		variable, isThere := found[name]
		if !isThere {
			response.Missing = append(response.Missing, name)
		} else if response.Variables[name], err = variableMessage(variable); err != nil {
			return nil, err
		}
	}
	return response, nil
}

func (s *hostService) SetVariable(ctx context.Context, request *bridgev1.SetVariableRequest) (*bridgev1.SetVariableResponse, error) {
	if err := refuseTTL(request.Ttl); err != nil {
		return nil, err
	}
	value, err := readValueOf(request.Name, request.Value)
	if err != nil {
		return nil, err
	}
	write := Write{request.Name, value, request.ExpectedVersion, request.Metadata}
	written, err := s.host.SetVariables(ctx, scopeOf(ctx, request.SessionId), []Write{write}, true)
	return &bridgev1.SetVariableResponse{Version: written[request.Name].Version}, errorOf(err)
}

func (s *hostService) SetVariables(ctx context.Context, request *bridgev1.SetVariablesRequest) (*bridgev1.SetVariablesResponse, error) {
	if err := refuseTTL(request.Ttl); err != nil {
		return nil, err
	}
	response := &bridgev1.SetVariablesResponse{Versions: map[string]int64{}, Failures: map[string]*bridgev1.VariableFailure{}}
	var writes []Write
	for _, name := range sortedKeys(request.Updates) {
		value, err := readValueOf(name, request.Updates[name])
		switch {
		case err == nil:
			write := Write{Name: name, Value: value, Metadata: request.Metadata}
			if expected, isThere := request.ExpectedVersions[name]; isThere {
				write.Expected = &expected
			}
			writes = append(writes, write)
		case request.Atomic:
			return nil, err
		default:
			response.Failures[name] = failureMessage(err)
		}
	}
	written, err := s.host.SetVariables(ctx, scopeOf(ctx, request.SessionId), writes, request.Atomic)
	if err != nil {
		return nil, errorOf(err)
	}
	for name, one := range written {
		if one.Err != nil {
			response.Failures[name] = failureMessage(errorOf(one.Err))
		} else {
			response.Versions[name] = one.Version
		}
	}
	return response, nil
}

func (s *hostService) RegisterVariable(ctx context.Context, request *bridgev1.RegisterVariableRequest) (*bridgev1.RegisterVariableResponse, error) {
	if err := refuseTTL(request.Ttl); err != nil {
		return nil, err
	}
	value, err := readValueOf(request.Name, request.Value)
	if err != nil {
		return nil, err
	}
	declaration := Declaration{request.Name, request.Type, value, request.Constraints, request.Metadata}
	variable, err := s.host.RegisterVariable(ctx, scopeOf(ctx, request.SessionId), declaration)
	if err != nil {
		return nil, errorOf(err)
	}
	message, err := variableMessage(variable)
	return &bridgev1.RegisterVariableResponse{Variable: message}, err
}

func (s *hostService) ListVariables(ctx context.Context, request *bridgev1.ListVariablesRequest) (*bridgev1.ListVariablesResponse, error) {
	variables, err := s.host.ListVariables(ctx, scopeOf(ctx, request.SessionId), request.Pattern)
	if err != nil {
		return nil, errorOf(err)
	}
	response := &bridgev1.ListVariablesResponse{}
	for _, variable := range variables {
		message, err := variableMessage(variable)
		if err != nil {
			return nil, err
		}
		response.Variables = append(response.Variables, message)
	}
	return response, nil
}

func (s *hostService) DeleteVariable(ctx context.Context, request *bridgev1.DeleteVariableRequest) (*bridgev1.DeleteVariableResponse, error) {
	err := s.host.DeleteVariable(ctx, scopeOf(ctx, request.SessionId), request.Name, request.ExpectedVersion)
	return &bridgev1.DeleteVariableResponse{}, errorOf(err)
}

func (s *hostService) ListHostTools(ctx context.Context, _ *bridgev1.ListHostToolsRequest) (*bridgev1.ListHostToolsResponse, error) {
	tools, err := s.host.ListTools(ctx)
	return &bridgev1.ListHostToolsResponse{Tools: tools}, errorOf(err)
}

func (s *hostService) ExecuteHostTool(ctx context.Context, request *bridgev1.ExecuteToolRequest) (*bridgev1.ExecuteToolResponse, error) {
	arguments := make(map[string]any, len(request.Parameters)+len(request.BinaryParameters))
	for _, name := range sortedKeys(request.Parameters) {
		value, err := unpack(request.Parameters[name], 0)
		if err != nil {
			return nil, at("$", inside(name, err))
		}
		arguments[name] = value
	}
	for name, data := range request.BinaryParameters {
		if _, isTwice := arguments[name]; isTwice {
			return nil, invalid("$."+name, "is in parameters and in binary_parameters", "INVALID_ARGUMENT")
		}
		arguments[name] = orEmpty(data)
	}
	result, err := s.host.CallTool(ctx, scopeOf(ctx, request.SessionId), request.ToolName, arguments)
	if err != nil {
		return nil, errorOf(err)
	}
	packed, err := Pack(result)
	if err != nil {
		message := "the host's tool " + request.ToolName + " gave a value that cannot be carried: " + err.Error()
		return nil, &Error{Code: codes.Unknown, Reason: "UNSUPPORTED_RESULT", Message: message}
	}
	return &bridgev1.ExecuteToolResponse{Result: packed}, nil
}

func readValueOf(name string, packed *anypb.Any) (any, error) {
	value, err := unpack(packed, 0)
	return value, at(name, err)
}

func variableMessage(variable Variable) (*bridgev1.Variable, error) {
	packed, err := pack(variable.Value, 0)
	if err != nil {
		return nil, at(variable.Name, err)
	}
	return &bridgev1.Variable{
		Name:          variable.Name,
		Type:          variable.Type,
		Value:         packed,
		Metadata:      variable.Metadata,
		LastUpdatedAt: timestamppb.New(variable.UpdatedAt),
		Version:       variable.Version,
		Constraints:   variable.Constraints,
		ChangedBy:     variable.ChangedBy,
	}, nil
}

func failureMessage(err error) *bridgev1.VariableFailure {
	failure := &bridgev1.VariableFailure{Code: int32(codes.Unknown), Message: err.Error()}
	if known, ok := err.(*Error); ok {
		failure.Code, failure.Message, failure.Reason = int32(known.Code), known.Message, known.Reason
		failure.CurrentVersion, _ = strconv.ParseInt(known.Metadata["current_version"], 10, 64)
	}
	return failure
}

func refuseTTL(ttl *durationpb.Duration) error {
	if ttl == nil {
		return nil
	}
	return unimplemented("keeps variables as long as their session: leave out the time to live")
}
