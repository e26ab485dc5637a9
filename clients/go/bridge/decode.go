package bridge

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

const (
	maxSpan  = 315_576_000_000 // seconds of the longest Duration, 10,000 years
	nanos    = 1_000_000_000
	maxBytes = math.MaxInt32 // of an array
)

func unpack(packed *anypb.Any, depth int) (any, error) {
	if !strings.Contains(packed.GetTypeUrl(), "/") {
		return nil, &refusal{description: "the value has no type", reason: "VALUE_TYPE_UNKNOWN"}
	}
	message, err := packed.UnmarshalNew()
	if errors.Is(err, protoregistry.NotFound) {
		name := packed.GetTypeUrl()[strings.LastIndexByte(packed.GetTypeUrl(), '/')+1:]
		description := fmt.Sprintf("values of type %.200q are not known here: import their Go package", name)
		return nil, &refusal{description: description, reason: "VALUE_TYPE_UNKNOWN"}
	}
	if err != nil {
		return nil, malformed("the bytes are no %s", packed.MessageName())
	}
	return fromMessage(message, depth)
}

func fromMessage(message proto.Message, depth int) (any, error) {
	switch message := message.(type) {
	case *wrapperspb.BoolValue:
		return message.Value, nil
	case *wrapperspb.Int64Value:
		return message.Value, nil
	case *wrapperspb.DoubleValue:
		return message.Value, nil
	case *wrapperspb.StringValue:
		return message.Value, nil
	case *wrapperspb.BytesValue:
		return orEmpty(message.Value), nil
	case *emptypb.Empty:
		return nil, nil
	case *wrapperspb.FloatValue:
		return float64(message.Value), nil
	case *wrapperspb.Int32Value:
		return int64(message.Value), nil
	case *wrapperspb.UInt32Value:
		return int64(message.Value), nil
	case *wrapperspb.UInt64Value:
		return canonicalBig(new(big.Int).SetUint64(message.Value)), nil
	case *bridgev1.Json:
		return readJSON(message.Document, depth)
	case *bridgev1.BigNumber:
		return readBigNumber(message)
	case *bridgev1.Tensor:
		tensor := Tensor{message.Dtype, message.Shape, orEmpty(message.Data)}
		return tensor, tensorProblem(tensor, malformed)
	case *bridgev1.ArrowStream:
		return ArrowStream{orEmpty(message.Data)}, nil
	case *timestamppb.Timestamp:
		return readTime(message)
	case *durationpb.Duration:
		return readDuration(message)
	}
	return fromContainer(message, depth)
}

func fromContainer(message proto.Message, depth int) (any, error) {
	switch message := message.(type) {
	case *bridgev1.List:
		return readList(message, depth)
	case *bridgev1.Map:
		return readMap(message, depth)
	case *structpb.Value:
		return readValue(message, depth)
	case *structpb.Struct:
		return readStruct(message, depth)
	case *structpb.ListValue:
		return readListValue(message, depth)
	}
	return message, nil
}

func orEmpty(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

var integerForm = regexp.MustCompile(`^-?[0-9]+$`)

func readBigNumber(message *bridgev1.BigNumber) (any, error) {
	if text := message.GetDecimal(); text != "" {
		return readDecimal(text)
	}
	text := message.GetInteger()
	if len(strings.TrimPrefix(text, "-")) > maxDigits {
		return nil, refused("the number has more than %d digits", maxDigits)
	}
	if !integerForm.MatchString(text) {
		return nil, malformed("the BigNumber's integer is not an optional minus sign and decimal digits")
	}
	number, _ := new(big.Int).SetString(text, 10)
	return canonicalBig(number), nil
}

func readDecimal(text string) (any, error) {
	if len(text) > maxDigits {
		return nil, refused("the number has more than %d digits", maxDigits)
	}
	if !decimalForm.MatchString(text) {
		return nil, malformed("the BigNumber's decimal is not an optional minus sign, digits, optional fraction and exponent")
	}
	if beyondExponent(text) {
		return nil, refused("the decimal's exponent is beyond %d", maxExponent)
	}
	return Decimal(text), nil
}

func readTime(message *timestamppb.Timestamp) (any, error) {
	if message.Nanos < 0 || message.Nanos >= nanos {
		return nil, malformed("the Timestamp's nanos are not between 0 and 999,999,999")
	}
	if message.Seconds < minSeconds || message.Seconds > maxSeconds {
		return nil, refused("the Timestamp is outside of the years 1 to 9999")
	}
	return time.Unix(message.Seconds, int64(message.Nanos)/1000*1000).UTC(), nil
}

func readDuration(message *durationpb.Duration) (any, error) {
	seconds, rest := message.Seconds, message.Nanos
	if rest <= -nanos || rest >= nanos || (seconds < 0 && rest > 0) || (seconds > 0 && rest < 0) {
		return nil, malformed("the Duration's nanos are out of range or differ from its seconds in sign")
	}
	if seconds > maxSpan || seconds < -maxSpan {
		return nil, refused("the Duration is longer than 10,000 years")
	}
	rest = rest / 1000 * 1000
	const longest = math.MaxInt64/nanos - 1
	if seconds > longest || seconds < -longest {
		return &durationpb.Duration{Seconds: seconds, Nanos: rest}, nil
	}
	return time.Duration(seconds)*time.Second + time.Duration(rest), nil
}

var itemSizes = map[string]int64{
	"bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
	"float16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}

// tensorProblem says what is wrong with an array, by problem.
func tensorProblem(tensor Tensor, problem func(string, ...any) error) error {
	size, known := itemSizes[tensor.DType]
	if !known {
		return problem("the element type is not one of those that can be carried")
	}
	if len(tensor.Shape) > 32 {
		return problem("the array has more than 32 dimensions")
	}
	largest, isEmpty := size, false
	for _, length := range tensor.Shape {
		if length < 0 || length > maxBytes {
			return problem("a dimension is not between 0 and %d", maxBytes)
		}
		// A zero anywhere makes the array empty, and NumPy still multiplies the others.
		isEmpty = isEmpty || length == 0
		if largest *= max(length, 1); largest > maxBytes {
			return problem("the array is larger than 2 GiB")
		}
	}
	if isEmpty {
		largest = 0
	}
	if int64(len(tensor.Data)) != largest {
		return problem("the shape needs %d bytes and there are %d", largest, len(tensor.Data))
	}
	if tensor.DType == "bool" {
		for _, item := range tensor.Data {
			if item > 1 {
				return problem("a boolean is neither 0 nor 1")
			}
		}
	}
	return nil
}
