package bridge

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	maxDepth  = 64   // containers inside one another
	maxDigits = 4300 // of one number
)

// Decimal is a decimal fraction of which every digit counts: "1.10" is not "1.1". Python's Decimal.
type Decimal string

// Tensor is a dense array of numbers or booleans. NumPy's ndarray.
type Tensor struct {
	// DType is bool, int8 ... int64, uint8 ... uint64, float16, float32, float64, complex64 or complex128.
	DType string
	// Shape has the length of each dimension, outermost first.
	Shape []int64
	// Data has the elements in row-major order, little-endian, without padding.
	Data []byte
}

// ArrowStream is a table in the Arrow IPC streaming format.
type ArrowStream struct {
	Data []byte
}

// Entries is an object of which at least one key is not text: Python's dict.
type Entries []Entry

// Entry is a key and its value. A key is text, a number, a boolean or bytes.
type Entry struct {
	Key, Value any
}

// Pack makes of a value what travels.
//
//	Go                                        Python
//	nil                                       None
//	bool                                      bool
//	integers, *big.Int                        int
//	float32, float64                          float
//	string                                    str
//	[]byte                                    bytes
//	Decimal                                   Decimal
//	time.Time                                 datetime, which has microseconds
//	time.Duration                             timedelta, which has microseconds
//	slices, arrays                            list
//	maps with string keys                     dict
//	other maps, Entries                       dict
//	Tensor                                    numpy.ndarray
//	ArrowStream                               pyarrow.Table
//	messages of protobuf                      the message, if it is registered
//	pointers                                  what they point to
//
// Other types travel as what they are defined as, if that is a boolean, a number, text, a slice, an array or a map.
// Everything else is refused with an *[Error], UNSUPPORTED_VALUE, that has the path of what is wrong.
func Pack(value any) (*anypb.Any, error) {
	packed, err := pack(value, 0)
	return packed, at("$", err)
}

// Unpack is the value of what has travelled: nil, bool, int64, *big.Int (of more than 64 bits only), float64, string,
// []byte, [Decimal], time.Time, time.Duration (*durationpb.Duration beyond 292 years), []any, map[string]any,
// [Entries], [Tensor], [ArrowStream], or a message that this program knows. Everything else is refused with an
// *[Error].
func Unpack(packed *anypb.Any) (any, error) {
	value, err := unpack(packed, 0)
	return value, at("$", err)
}

// refusal is a value that does not travel. Containers add their part of the path while it passes them.
type refusal struct {
	description, reason string
	steps               []string // innermost first
}

func (r *refusal) Error() string { return r.description }

func unsupported(format string, arguments ...any) error {
	return &refusal{description: fmt.Sprintf(format, arguments...), reason: "UNSUPPORTED_VALUE"}
}

func malformed(format string, arguments ...any) error {
	return &refusal{description: fmt.Sprintf(format, arguments...), reason: "VALUE_MALFORMED"}
}

func refused(format string, arguments ...any) error {
	return &refusal{description: fmt.Sprintf(format, arguments...), reason: "VALUE_REFUSED"}
}

func tooDeep() error {
	return refused("the value is nested deeper than %d levels", maxDepth)
}

// at makes an *Error of a refusal; path is where the outermost value stands.
func at(path string, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		return err
	}
	for i := len(r.steps) - 1; i >= 0; i-- {
		path += r.steps[i]
	}
	return &Error{
		Code:       codes.InvalidArgument,
		Reason:     r.reason,
		Message:    path + ": " + r.description,
		Violations: []Violation{{path, r.description}},
	}
}

// inside adds the key or index under which a refused value stands.
func inside(key any, err error) error {
	var r *refusal
	if errors.As(err, &r) {
		r.steps = append(r.steps, step(key))
	}
	return err
}

func step(key any) string {
	switch key := key.(type) {
	case int, int64:
		return fmt.Sprintf("[%d]", key)
	case string:
		if isIdentifier(key) {
			return "." + key
		}
		if characters := []rune(key); len(characters) > 64 {
			key = string(characters[:64]) + "…"
		}
		return "[" + strconv.QuoteToASCII(key) + "]"
	default:
		return fmt.Sprintf("[%T]", key)
	}
}

func isIdentifier(key string) bool {
	for i, char := range []byte(key) {
		if char != '_' && (char|0x20 < 'a' || char|0x20 > 'z') && (i == 0 || char < '0' || char > '9') {
			return false
		}
	}
	return key != "" && len(key) <= 64
}

// identity is the same for keys that are equal in Python, where 1, 1.0 and True are; "" for a key that equals none.
func identity(key any) string {
	switch key := key.(type) {
	case string:
		return "s" + key
	case []byte:
		return "b" + string(key)
	case bool:
		if key {
			return "n1"
		}
		return "n0"
	case int64:
		return "n" + strconv.FormatInt(key, 10)
	case *big.Int:
		return "n" + key.String()
	case float64:
		if key != key {
			return ""
		}
		if whole, accuracy := big.NewFloat(key).Int(nil); whole != nil && accuracy == big.Exact {
			return "n" + whole.String()
		}
		return "f" + strconv.FormatFloat(key, 'g', -1, 64)
	case Decimal:
		return decimalIdentity(string(key))
	}
	return ""
}

// decimalIdentity is that of the equal integer or float, if there is one within reason.
func decimalIdentity(text string) string {
	exponent := 0
	if _, after, found := strings.Cut(strings.ToLower(text), "e"); found {
		exponent, _ = strconv.Atoi(after)
	}
	if exponent > -maxDigits && exponent < maxDigits {
		if exact, ok := new(big.Rat).SetString(text); ok {
			if exact.IsInt() {
				return "n" + exact.Num().String()
			}
			if number, isExact := exact.Float64(); isExact {
				return "f" + strconv.FormatFloat(number, 'g', -1, 64)
			}
			return "d" + exact.String()
		}
	}
	return "d" + text
}
