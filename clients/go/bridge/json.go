package bridge

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

var errNotExact = errors.New("JSON does not carry this value exactly")

// exactJSON is the document that decodes to exactly this container, if there is one: integers of any size as integers,
// floats with a point or an exponent, text, booleans, null, and containers of these.
func exactJSON(container any, depth int) ([]byte, bool) {
	document, err := appendJSON(nil, container, depth)
	return document, err == nil
}

func appendJSON(document []byte, value any, depth int) ([]byte, error) {
	plain, err := canonical(value)
	if err != nil {
		return nil, err
	}
	switch plain := plain.(type) {
	case nil:
		return append(document, "null"...), nil
	case bool:
		return strconv.AppendBool(document, plain), nil
	case int64:
		return strconv.AppendInt(document, plain, 10), nil
	case *big.Int:
		text, err := digits(plain)
		return append(document, text...), err
	case float64:
		return appendFloat(document, plain)
	case string:
		return appendText(document, plain)
	case []any:
		return appendItems(document, plain, depth)
	case map[string]any:
		return appendFields(document, plain, depth)
	}
	return nil, errNotExact
}

func appendFloat(document []byte, number float64) ([]byte, error) {
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return nil, errNotExact
	}
	text := strconv.FormatFloat(number, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0" // without a point it would be an integer
	}
	return append(document, text...), nil
}

func appendText(document []byte, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, errNotExact
	}
	document = append(document, '"')
	for _, char := range []byte(text) {
		switch {
		case char == '"' || char == '\\':
			document = append(document, '\\', char)
		case char < 0x20:
			document = hex.AppendEncode(append(document, `\u00`...), []byte{char})
		default:
			document = append(document, char)
		}
	}
	return append(document, '"'), nil
}

func appendItems(document []byte, items []any, depth int) (_ []byte, err error) {
	if depth >= maxDepth {
		return nil, errNotExact
	}
	document = append(document, '[')
	for i, item := range items {
		if i > 0 {
			document = append(document, ',')
		}
		if document, err = appendJSON(document, item, depth+1); err != nil {
			return nil, err
		}
	}
	return append(document, ']'), nil
}

func appendFields(document []byte, fields map[string]any, depth int) (_ []byte, err error) {
	if depth >= maxDepth {
		return nil, errNotExact
	}
	document = append(document, '{')
	for i, key := range sortedKeys(fields) {
		if i > 0 {
			document = append(document, ',')
		}
		if document, err = appendText(document, key); err != nil {
			return nil, err
		}
		if document, err = appendJSON(append(document, ':'), fields[key], depth+1); err != nil {
			return nil, err
		}
	}
	return append(document, '}'), nil
}

// readJSON is the value of a document that stands inside depth containers.
func readJSON(document []byte, depth int) (any, error) {
	if err := checkDocument(document, depth); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, malformed("the JSON document is not valid: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, malformed("the JSON document is not valid: something follows its end")
	}
	return exactNumbers(value)
}

// checkDocument looks for what encoding/json lets pass: deep nesting, bytes that are no UTF-8, and halves of characters.
func checkDocument(document []byte, depth int) error {
	if !utf8.Valid(document) {
		return malformed("the JSON document is not valid UTF-8")
	}
	deepest, inText := depth, false
	for i := 0; i < len(document); i++ {
		switch char := document[i]; {
		case char == '"':
			inText = !inText
		case inText && char == '\\':
			used, err := checkEscape(document[i:])
			if err != nil {
				return err
			}
			i += used - 1
		case !inText && (char == '[' || char == '{'):
			if deepest++; deepest > maxDepth {
				return tooDeep()
			}
		case !inText && (char == ']' || char == '}'):
			deepest--
		}
	}
	return nil
}

// checkEscape says how many bytes an escape has; a surrogate must be one half of a pair.
func checkEscape(rest []byte) (int, error) {
	first, ok := unicodeEscape(rest)
	if !ok || first < 0xD800 || first > 0xDFFF {
		return min(2, len(rest)), nil
	}
	second, ok := unicodeEscape(rest[6:])
	if first > 0xDBFF || !ok || second < 0xDC00 || second > 0xDFFF {
		return 0, malformed("the JSON document has half of a character in its text")
	}
	return 12, nil
}

func unicodeEscape(rest []byte) (uint64, bool) {
	if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
		return 0, false
	}
	code, err := strconv.ParseUint(string(rest[2:6]), 16, 16)
	return code, err == nil
}

// exactNumbers puts numbers in the place of their texts.
func exactNumbers(value any) (any, error) {
	var err error
	switch value := value.(type) {
	case json.Number:
		return exactNumber(string(value))
	case []any:
		for i := range value {
			if value[i], err = exactNumbers(value[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range value {
			if value[key], err = exactNumbers(value[key]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

func exactNumber(text string) (any, error) {
	if strings.ContainsAny(text, ".eE") {
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, refused("the JSON document is refused: a number is out of range")
		}
		return number, nil
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return whole, nil
	}
	if len(strings.TrimPrefix(text, "-")) > maxDigits {
		return nil, refused("the JSON document is refused: an integer has more than %d digits", maxDigits)
	}
	whole, _ := new(big.Int).SetString(text, 10)
	return whole, nil
}
