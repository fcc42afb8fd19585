package jsonout

import "encoding/json"

// These write a field unless it is empty, as omitempty does.

// OptString writes a string field unless it is empty.
func (w *Writer) OptString(key, s string) {
	if s != "" {
		w.Key(key).String(s)
	}
}

// OptInt writes a number field unless it is zero.
func (w *Writer) OptInt(key string, n int64) {
	if n != 0 {
		w.Key(key).Int(n)
	}
}

// OptFloat writes a number field unless it is nil.
func (w *Writer) OptFloat(key string, f *float64) {
	if f == nil {
		return
	}
	raw, err := json.Marshal(*f)
	if err != nil {
		w.fail(err)
		return
	}
	w.b = append(w.Key(key).b, raw...)
}

// OptBool writes a field if it is true.
func (w *Writer) OptBool(key string, v bool) {
	if v {
		w.Key(key).Bool(v)
	}
}

// OptRaw writes a field unless there is nothing.
func (w *Writer) OptRaw(key string, raw json.RawMessage) {
	if len(raw) > 0 {
		w.Key(key).Raw(raw)
	}
}

// Ints writes an array of numbers, null of a nil slice.
func Ints[T ~int32 | ~int64](w *Writer, items []T) {
	if items == nil {
		w.Null()
		return
	}
	w.Open('[')
	for _, n := range items {
		w.Next()
		w.Int(int64(n))
	}
	w.Close(']')
}
