package chat_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"processor/internal/chat"
)

// What writes itself must be what encoding/json makes of it, whatever the fields hold. All fields are filled by reflection: one that an encoder
// does not know is a difference.
func TestWhatWritesItselfIsWhatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	sameAs[*chat.Event](t, reflected)
	sameAs[*chat.Partial](t, reflected)
	sameAs[[]chat.Part](t, reflected)
	sameAs[*chat.Chat](t, func(c any) ([]byte, error) {
		row := *c.(*chat.Chat)
		if len(row.Metadata) == 0 {
			row.Metadata = json.RawMessage("{}")
		}
		type plain chat.Chat // encoding/json would ask a chat.Chat to write itself
		return reflected(struct {
			plain
			InterruptRequested bool `json:"interrupt_requested"`
		}{plain(row), row.InterruptRequested()})
	})
	// These have a chat in them, which writes itself also for encoding/json.
	sameAs[chat.CreateReply](t, reflected)
	sameAs[chat.SendReply](t, reflected)
	sameAs[chat.ChatReply](t, reflected)
	sameAs[chat.MessagesReply](t, reflected)
	sameAs[chat.Snapshot](t, reflected)
}

// FuzzWriteString looks for a text that is escaped in another way.
func FuzzWriteString(f *testing.F) {
	for _, s := range texts() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		compare(t, []chat.Part{{Text: s}}, reflected)
	})
}

// FuzzWriteRaw looks for JSON that is taken over in another way, or taken though it is broken.
func FuzzWriteRaw(f *testing.F) {
	for _, raw := range append(raws(), `{"a":}`, `{} {}`, ` `, `"`+"\n"+`"`) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		compare(t, []chat.Part{{Input: json.RawMessage(raw)}}, reflected)
	})
}

func sameAs[T any](t *testing.T, want func(any) ([]byte, error)) {
	t.Helper()
	t.Run(reflect.TypeFor[T]().String(), func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			v := reflect.New(reflect.TypeFor[T]()).Elem()
			if v.Kind() == reflect.Pointer {
				v.Set(reflect.New(v.Type().Elem()))
				fill(t, v.Elem(), "value")
			} else {
				fill(t, v, "value")
			}
			compare(t, v.Interface(), want)
		})
	})
}

// compare also sees that what was there before stays.
func compare(t rapid.TB, v any, reflected func(any) ([]byte, error)) {
	want, wantErr := reflected(v)
	got, err := chat.AppendJSON([]byte("before"), v)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%+v: error %v, encoding/json has %v", v, err, wantErr)
	}
	if err != nil {
		return
	}
	if d := cmp.Diff("before"+string(want), string(got)); d != "" {
		t.Fatalf("written otherwise than by encoding/json (-want +got):\n%s", d)
	}
}

func reflected(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// fill gives v a value, of a struct every field one.
func fill(t *rapid.T, v reflect.Value, label string) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(drawTime(t, label)))
		return
	case json.RawMessage:
		if rapid.Bool().Draw(t, label+" is there") {
			v.SetBytes([]byte(rapid.SampledFrom(raws()).Draw(t, label)))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, label+" is there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), label)
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, label+" length"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range v.Len() {
			fill(t, v.Index(i), label)
		}
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.Just(""), rapid.SampledFrom(texts()), rapid.String(), arbitrary()).Draw(t, label))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, label))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.OneOf(rapid.Int64Range(-1, 1), rapid.Int64()).Draw(t, label))
	case reflect.Int32:
		v.SetInt(int64(rapid.Int32().Draw(t, label)))
	default:
		t.Fatalf("%s is a %s: say here how one is made", label, v.Type())
	}
}

// arbitrary bytes are hardly ever UTF-8.
func arbitrary() *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) })
}

func texts() []string {
	return []string{
		"a few words", "say \"hello\",\n\ttab, \\ and /\r\n", "<b>&amp;</b>", "\x00\x01\b\f\x1f\x7f", "\u2028\u2029\u2027", "déjà vu, 漢字 🙂", "\ufffd",
		"broken \xff\xc3", "\xed\xa0\x80", "\xe2\x80", "\xf0\x9f\x99",
	}
}

func raws() []string {
	return []string{
		`{}`, `[]`, `null`, `0`, `"x"`, `{"a": {"b": [1, 2.50, -1e9, true, "< & > \u2028"]}}`, "\n[ 1 ,\t{ } ]\r\n", `{"\u00e9": "` + "\u2028\xff" + `"}`,
	}
}

func drawTime(t *rapid.T, label string) time.Time {
	switch rapid.IntRange(0, 3).Draw(t, label+" kind") {
	case 0:
		return time.Time{}
	case 1:
		year := rapid.SampledFrom([]int{-1, 0, 9999, 10000}).Draw(t, label+" year")
		return time.Date(year, 2, 3, 4, 5, 6, 0, time.UTC)
	}
	offset := rapid.IntRange(-26*60, 26*60).Draw(t, label+" offset")
	zone := time.FixedZone("", offset*60)
	return time.Unix(rapid.Int64Range(-1e10, 1e10).Draw(t, label), rapid.Int64Range(0, 999_999_999).Draw(t, label+" nanoseconds")).In(zone)
}
