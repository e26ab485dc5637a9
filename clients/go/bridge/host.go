package bridge

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// A Host has what tools ask for: variables of sessions, and functions to call. [MemoryHost] is one. Errors that are an
// *[Error] reach the tool as they are. Its methods are called from several goroutines at once.
type Host interface {
	// GetVariables reads variables at one instant; those that do not exist are absent.
	GetVariables(ctx context.Context, scope Scope, names []string) (map[string]Variable, error)
	// SetVariables writes variables. Atomic: all or nothing, and the first refusal is the error. Otherwise each name has
	// the new version or its error. An unknown name is registered with the type of its value.
	SetVariables(ctx context.Context, scope Scope, writes []Write, atomic bool) (map[string]Written, error)
	// RegisterVariable declares a variable. A name that exists gets the declaration as its next version.
	RegisterVariable(ctx context.Context, scope Scope, declaration Declaration) (Variable, error)
	// ListVariables has the variables whose name matches a pattern (* stands for any characters, ? for one), sorted; all
	// without a pattern.
	ListVariables(ctx context.Context, scope Scope, pattern string) ([]Variable, error)
	// DeleteVariable deletes a variable, if its version is the expected one or none is expected.
	DeleteVariable(ctx context.Context, scope Scope, name string, expected *int64) error
	// ListTools has the host's tools, sorted by name.
	ListTools(ctx context.Context) ([]*bridgev1.ToolSpec, error)
	// CallTool runs a tool of the host. The context ends when the plugin does not want the result any more.
	CallTool(ctx context.Context, scope Scope, tool string, arguments map[string]any) (any, error)
}

// Scope says on whose behalf a host is asked.
type Scope struct {
	// Session is its id; empty outside of one.
	Session string
	// ChangedBy is who writes: client, host or tool:<name>.
	ChangedBy string
}

// Variable is a variable at one version.
type Variable struct {
	Name string
	// Type is integer, float, string, boolean, choice, json, embedding, tensor or bytes.
	Type  string
	Value any
	// Version is 1 for the first value, one more with each change; a deletion is one too.
	Version     int64
	Constraints *bridgev1.Constraints
	Metadata    map[string]string
	ChangedBy   string
	UpdatedAt   time.Time
}

// Write is one write of one variable.
type Write struct {
	Name  string
	Value any
	// Expected is the current version, without which nothing is written; 0: there must be none; nil: whatever is there.
	Expected *int64
	// Metadata is free text to keep with the variable; empty: as before.
	Metadata map[string]string
}

// Written is the new version of a variable, or why there is none.
type Written struct {
	Version int64
	Err     error
}

// Declaration is a variable to be.
type Declaration struct {
	Name, Type  string
	Value       any
	Constraints *bridgev1.Constraints
	Metadata    map[string]string
}

func sessionNotFound() error {
	message := "there is no such session: open one, and call the tool in it"
	return &Error{Code: codes.NotFound, Reason: "SESSION_NOT_FOUND", Message: message}
}

func variableNotFound(name string) error {
	message := "the session has no variable " + name + ": list its variables, or set this one first"
	return &Error{Code: codes.NotFound, Reason: "VARIABLE_NOT_FOUND", Message: message}
}

func toolNotFound(name string) error {
	return &Error{Code: codes.NotFound, Reason: "TOOL_NOT_FOUND", Message: "the host has no tool " + name}
}

func unimplemented(what string) error {
	return &Error{Code: codes.Unimplemented, Reason: "NOT_OFFERED", Message: "this host is a Go program, and " + what}
}
