package bridge

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The bytes that every language of this project agrees on: tests/conformance/README.md says what is in them.
const vectors = "../../../tests/conformance/vectors"

type vector struct {
	Name string `json:"name"`
	Any  struct {
		TypeURL string `json:"type_url"`
		Value   []byte `json:"value_base64"`
	} `json:"any"`
	Value     *description `json:"value"`
	Direction string       `json:"direction"`
	Error     string       `json:"error"`
	Reason    string       `json:"reason"`
	Field     string       `json:"field"`
}

func (v vector) packed() *anypb.Any {
	return &anypb.Any{TypeUrl: v.Any.TypeURL, Value: v.Any.Value}
}

type description struct {
	Kind         string        `json:"kind"`
	Value        bool          `json:"value"`
	Text         string        `json:"text"`
	Bits         string        `json:"bits"`
	Base64       string        `json:"base64"`
	Microseconds string        `json:"microseconds"`
	Items        []description `json:"items"`
	Entries      []struct {
		Key   description `json:"key"`
		Value description `json:"value"`
	} `json:"entries"`
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
	Data  string  `json:"data_base64"`
}

func forEachVector(t *testing.T, check func(t *testing.T, v vector)) {
	files, err := filepath.Glob(filepath.Join(vectors, "*.json"))
	if err != nil || len(files) == 0 {
		t.Skip("needs the vectors of the repository")
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var parsed struct {
			Cases []vector `json:"cases"`
		}
		if err := json.Unmarshal(content, &parsed); err != nil {
			t.Fatal(err)
		}
		for _, v := range parsed.Cases {
			if filepath.Base(file) == "arrow.json" {
				continue // tables are opaque here
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+v.Name, func(t *testing.T) { check(t, v) })
		}
	}
}

func TestTheBytesDecodeToTheValue(t *testing.T) {
	forEachVector(t, func(t *testing.T, v vector) {
		if v.Value == nil {
			return
		}
		value, err := Unpack(v.packed())
		if err != nil {
			t.Fatal(err)
		}
		if want := build(t, *v.Value); !same(value, want) {
			t.Fatalf("got %#v, want %#v", value, want)
		}
	})
}

func TestTheValueEncodesToTheBytes(t *testing.T) {
	forEachVector(t, func(t *testing.T, v vector) {
		if v.Value == nil || v.Direction != "both" {
			return
		}
		packed, err := Pack(build(t, *v.Value))
		if err != nil {
			t.Fatal(err)
		}
		if proto.Equal(packed, v.packed()) {
			return
		}
		// Containers and NaN have several right forms; what they decode to counts.
		hasForms := strings.HasPrefix(v.Any.TypeURL, "type.googleapis.com/bridge.v1.") || v.Value.Bits == "any"
		if packed.TypeUrl != v.Any.TypeURL || !hasForms {
			t.Fatalf("got %v, want %v", packed, v.packed())
		}
		again, err := Unpack(packed)
		if err != nil || !same(again, build(t, *v.Value)) {
			t.Fatalf("comes back as %#v (%v)", again, err)
		}
	})
}

func TestTheBytesAreRefusedWithCodeReasonAndField(t *testing.T) {
	forEachVector(t, func(t *testing.T, v vector) {
		if v.Error == "" {
			return
		}
		value, err := Unpack(v.packed())
		var refused *Error
		if !errors.As(err, &refused) {
			t.Fatalf("got %#v, %v", value, err)
		}
		code := strings.ToUpper(strings.ReplaceAll(refused.Code.String(), "InvalidArgument", "INVALID_ARGUMENT"))
		if code != v.Error || refused.Reason != v.Reason {
			t.Errorf("got %s %s, want %s %s", code, refused.Reason, v.Error, v.Reason)
		}
		if len(refused.Violations) != 1 || refused.Violations[0].Field != v.Field {
			t.Errorf("got %v, want a violation of %s", refused.Violations, v.Field)
		}
	})
}

func build(t *testing.T, d description) any {
	t.Helper()
	switch d.Kind {
	case "null":
		return nil
	case "bool":
		return d.Value
	case "int64":
		number, err := strconv.ParseInt(d.Text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return number
	case "integer":
		number, _ := new(big.Int).SetString(d.Text, 10)
		return number
	case "double":
		if d.Bits == "any" {
			return math.NaN()
		}
		bits, err := strconv.ParseUint(d.Bits, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return math.Float64frombits(bits)
	case "string":
		return d.Text
	case "bytes":
		return decode64(t, d.Base64)
	case "decimal":
		return Decimal(d.Text)
	case "timestamp":
		moment, err := time.Parse(time.RFC3339Nano, d.Text)
		if err != nil {
			t.Fatal(err)
		}
		return moment
	case "duration":
		return buildDuration(t, d.Microseconds)
	case "list":
		items := make([]any, len(d.Items))
		for i, item := range d.Items {
			items[i] = build(t, item)
		}
		return items
	case "map":
		entries := Entries{}
		for _, entry := range d.Entries {
			entries = append(entries, Entry{build(t, entry.Key), build(t, entry.Value)})
		}
		return asFields(entries)
	case "tensor":
		return Tensor{d.DType, d.Shape, decode64(t, d.Data)}
	}
	t.Fatalf("no such kind: %s", d.Kind)
	return nil
}

func buildDuration(t *testing.T, text string) any {
	t.Helper()
	micros, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if micros > math.MaxInt64/1000 || micros < math.MinInt64/1000 {
		return &durationpb.Duration{Seconds: micros / 1e6, Nanos: int32(micros%1e6) * 1000}
	}
	return time.Duration(micros) * time.Microsecond
}

func decode64(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asFields(entries Entries) any {
	fields := map[string]any{}
	for _, entry := range entries {
		key, isText := entry.Key.(string)
		if !isText {
			return entries
		}
		fields[key] = entry.Value
	}
	return fields
}

// same compares exactly: floats by their bits, but for NaN; the order of entries does not count.
func same(a, b any) bool {
	return fingerprint(a) == fingerprint(b)
}

func fingerprint(value any) string {
	switch value := value.(type) {
	case float64:
		if math.IsNaN(value) {
			return "float nan"
		}
		return fmt.Sprintf("float %016x", math.Float64bits(value))
	case *big.Int:
		return "big " + value.String()
	case time.Time:
		return "time " + value.UTC().Format(time.RFC3339Nano)
	case Decimal:
		return "decimal " + coefficient(string(value))
	case *durationpb.Duration:
		return fmt.Sprintf("duration %d %d", value.Seconds, value.Nanos)
	case Tensor:
		return fmt.Sprintf("tensor %s %v %x", value.DType, value.Shape, value.Data)
	case []any:
		parts := make([]string, len(value))
		for i, item := range value {
			parts[i] = fingerprint(item)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var entries Entries
		for key, item := range value {
			entries = append(entries, Entry{key, item})
		}
		return fingerprint(entries)
	case Entries:
		var parts []string
		for _, entry := range value {
			parts = append(parts, fingerprint(entry.Key)+": "+fingerprint(entry.Value))
		}
		sort.Strings(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprintf("%T %v", value, value)
}

// coefficient is a decimal as its digits and the power of ten they count: "0.00250" and "2.50e-3" are the same.
func coefficient(text string) string {
	digits, power, _ := strings.Cut(strings.ToLower(text), "e")
	exponent, _ := strconv.Atoi(power)
	sign := strings.HasPrefix(digits, "-")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(digits, "-"), ".")
	return fmt.Sprintf("%t %s %d", sign, strings.TrimLeft(whole+fraction, "0"), exponent-len(fraction))
}

type level int
type label string

func TestValuesOfGoTravelAsWhatTheyAre(t *testing.T) {
	large, _ := new(big.Int).SetString("-170141183460469231731687303715884105728", 10)
	seven := 7
	for name, c := range map[string]struct{ value, want any }{
		"int":               {42, int64(42)},
		"uint64 that fits":  {uint64(7), int64(7)},
		"largest uint64":    {uint64(math.MaxUint64), new(big.Int).SetUint64(math.MaxUint64)},
		"small big.Int":     {big.NewInt(5), int64(5)},
		"large big.Int":     {large, large},
		"float32":           {float32(1.5), 1.5},
		"defined integer":   {level(3), int64(3)},
		"defined string":    {label("x"), "x"},
		"pointer":           {&seven, int64(7)},
		"nil pointer":       {(*int)(nil), nil},
		"nil big.Int":       {(*big.Int)(nil), nil},
		"nil message":       {(*durationpb.Duration)(nil), nil},
		"strings":           {[]string{"a", "b"}, []any{"a", "b"}},
		"array":             {[2]int{1, 2}, []any{int64(1), int64(2)}},
		"array of bytes":    {[2]byte{1, 2}, []byte{1, 2}},
		"slice of maps":     {[]map[string]int{{"a": 1}}, []any{map[string]any{"a": int64(1)}}},
		"integer keys":      {map[int]string{2: "two"}, Entries{{int64(2), "two"}}},
		"defined text keys": {map[label]bool{"a": true}, map[string]any{"a": true}},
		"json.Number":       {[]any{json.Number("1"), json.Number("1.0")}, []any{int64(1), 1.0}},
		"bytes in a map":    {map[string]any{"a": []byte{0xff}, "b": 1}, map[string]any{"a": []byte{0xff}, "b": int64(1)}},
		"times in a list": {
			[]any{time.Date(2024, 2, 29, 1, 2, 3, 4000, time.UTC), 90 * time.Second},
			[]any{time.Date(2024, 2, 29, 1, 2, 3, 4000, time.UTC), 90 * time.Second},
		},
		"table": {ArrowStream{[]byte{1}}, ArrowStream{[]byte{1}}},
	} {
		t.Run(name, func(t *testing.T) {
			packed, err := Pack(c.value)
			if err != nil {
				t.Fatal(err)
			}
			value, err := Unpack(packed)
			if err != nil || !same(value, c.want) {
				t.Fatalf("got %#v (%v), want %#v", value, err, c.want)
			}
		})
	}
}

func TestWhatCannotTravelIsRefusedWithItsPath(t *testing.T) {
	circle := []any{nil}
	circle[0] = circle
	for name, c := range map[string]struct {
		value any
		field string
	}{
		"function":         {func() {}, "$"},
		"channel inside":   {map[string]any{"rows": []any{1, make(chan int)}}, "$.rows[1]"},
		"struct":           {struct{ A int }{1}, "$"},
		"text not UTF-8":   {[]any{"\xff"}, "$[0]"},
		"key not UTF-8":    {map[string]any{"\xff": 1}, `$["\xff"]`},
		"map as key":       {Entries{{map[string]any{}, 1}}, "$[map[string]interface {}]"},
		"key twice":        {Entries{{1, "a"}, {1.0, "b"}}, "$[float64]"},
		"wrong decimal":    {Decimal("1,5"), "$"},
		"huge exponent":    {Decimal("1e1000000"), "$"},
		"too many digits":  {new(big.Int).Exp(big.NewInt(10), big.NewInt(4300), nil), "$"},
		"time before 1":    {time.Time{}.Add(-time.Second), "$"},
		"wrong tensor":     {Tensor{"float64", []int64{2}, []byte{1}}, "$"},
		"holds itself":     {circle, "$" + strings.Repeat("[0]", 64)},
		"json.Number text": {json.Number("x"), "$"},
	} {
		t.Run(name, func(t *testing.T) {
			packed, err := Pack(c.value)
			var refused *Error
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, %v", packed, err)
			}
			if refused.Reason != "UNSUPPORTED_VALUE" || refused.Violations[0].Field != c.field {
				t.Fatalf("got %s at %s, want it at %s", refused.Reason, refused.Violations[0].Field, c.field)
			}
		})
	}
}

func TestEqualValuesAreEqualBytes(t *testing.T) {
	value := map[string]any{"b": []byte{1}, "a": 1, "c": map[string]any{"y": 1, "x": 2.5}}
	first, err := Pack(value)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := Pack(value); err != nil || !reflect.DeepEqual(first.Value, again.Value) {
			t.Fatalf("differs (%v)", err)
		}
	}
}

func FuzzUnpackNeverPanics(f *testing.F) {
	f.Add("type.googleapis.com/bridge.v1.Json", []byte("\n\x02{}"))
	f.Add("type.googleapis.com/bridge.v1.Map", []byte{})
	f.Add("type.googleapis.com/bridge.v1.Tensor", []byte("\n\x04bool"))
	f.Add("type.googleapis.com/bridge.v1.Json", []byte("\n\x08\"\\ud800\""))
	f.Fuzz(func(t *testing.T, url string, data []byte) {
		value, err := Unpack(&anypb.Any{TypeUrl: url, Value: data})
		if err != nil {
			return
		}
		packed, err := Pack(value)
		if err != nil {
			t.Fatalf("was read and cannot be sent: %v", err)
		}
		again, err := Unpack(packed)
		if err != nil || !same(value, again) {
			t.Fatalf("%#v comes back as %#v (%v)", value, again, err)
		}
	})
}
