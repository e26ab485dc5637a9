package bridge

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

const domain = "tool-bridge"

// Error is why a call failed, as the other side told it, or why a value cannot travel. docs/errors-and-limits.md has
// the codes and reasons.
type Error struct {
	// Code says what the caller can do about it.
	Code codes.Code
	// Reason is the same for programs, finer: UPPER_SNAKE_CASE, or the name of the Python exception that a tool raised.
	Reason string
	// Message is for people.
	Message string
	// Metadata has facts for programs, such as current_version or error_id.
	Metadata map[string]string
	// Violations are the wrong fields, if any.
	Violations []Violation
	// RetryAfter is set if the call was not started because of load or a drain.
	RetryAfter *time.Duration
	// Debug is the tool's traceback, if the plugin runs with --debug.
	Debug string
}

// Violation is one thing wrong with one field.
type Violation struct {
	// Field is a path: $ is the whole value, $.rows[3].when a part of it.
	Field string
	// Description says what is wrong, without the value.
	Description string
}

func (e *Error) Error() string {
	return e.Code.String() + ": " + e.Message
}

// Is makes errors.Is tell the context's errors.
func (e *Error) Is(target error) bool {
	return target == context.Canceled && e.Code == codes.Canceled ||
		target == context.DeadlineExceeded && e.Code == codes.DeadlineExceeded
}

// GRPCStatus is what goes over the wire when a function of the host fails with this error.
func (e *Error) GRPCStatus() *status.Status {
	plain := status.New(e.Code, e.Message)
	details := []protoadapt.MessageV1{
		protoadapt.MessageV1Of(&errdetails.ErrorInfo{Reason: e.Reason, Domain: domain, Metadata: e.Metadata}),
	}
	if e.RetryAfter != nil {
		details = append(details, protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(*e.RetryAfter)}))
	}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, violation := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: violation.Field, Description: violation.Description,
			})
		}
		details = append(details, protoadapt.MessageV1Of(bad))
	}
	if detailed, err := plain.WithDetails(details...); err == nil {
		return detailed
	}
	return plain
}

// errorOf is what a call failed with, as an *Error.
func errorOf(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	st, isStatus := status.FromError(err)
	if !isStatus {
		st = status.FromContextError(err) // a function of the host may fail with what its context says
	}
	e := &Error{Code: st.Code(), Message: st.Message()}
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			after := detail.GetRetryDelay().AsDuration()
			e.RetryAfter = &after
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{violation.GetField(), violation.GetDescription()})
			}
		case *errdetails.DebugInfo:
			e.Debug = detail.GetDetail()
		}
	}
	return e
}

func invalid(field, description, reason string) *Error {
	return &Error{
		Code:       codes.InvalidArgument,
		Reason:     reason,
		Message:    field + ": " + description,
		Violations: []Violation{{field, description}},
	}
}
