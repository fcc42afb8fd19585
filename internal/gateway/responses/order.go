package responses

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"processor/internal/chat"
)

// note is what this protocol keeps with a turn, to say it again in every object of the response.
type note struct {
	Model        string `json:"model,omitempty"`
	Background   bool   `json:"background,omitempty"`
	Previous     string `json:"previous_response_id,omitempty"`
	Conversation bool   `json:"conversation,omitempty"`
	// Brought is how many turns before this one came with the request.
	Brought  int               `json:"brought,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// Unstored: the response is nobody's to find.
	Unstored bool `json:"unstored,omitempty"`
	// Labels are of the request, for people only: user, safety_identifier and the like.
	Labels map[string]string `json:"labels,omitempty"`
}

// order is a validated request to create a response. Its input is what its lines say when the items that they name were looked up.
type order struct {
	input
	note

	lines []line
	// own is the id of the chat of a response that is not stored.
	own          chat.ID
	stream       bool
	params       chat.Params
	conversation chat.ID
	previous     *ref
}

// reader takes fields out of a request's body and keeps the first thing that is wrong.
type reader struct {
	fields map[string]json.RawMessage
	err    error
}

// take removes a field; null is the same as none.
func (r *reader) take(name string) json.RawMessage {
	raw := r.fields[name]
	delete(r.fields, name)
	if absent(raw) {
		return nil
	}
	return raw
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// end refuses what nobody took.
func (r *reader) end() {
	for name := range r.fields {
		r.fail(refuse(400, "unknown_parameter", name, "Unknown parameter: '"+name+"'."))
	}
}

func read[T any](r *reader, name, what string) (v T) {
	if raw := r.take(name); raw != nil {
		if err := json.Unmarshal(raw, &v); err != nil {
			r.fail(invalid(name, name+" must be "+what))
		}
	}
	return v
}

// only accepts a field with one of some values, which change nothing, and refuses all others.
func (r *reader) only(name string, values ...string) {
	if raw := r.take(name); raw != nil && !slices.Contains(values, compact(raw)) {
		r.fail(unsupported(name))
	}
}

func compact(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	dropNulls(v)
	out, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(out)
}

func dropNulls(v any) {
	if m, ok := v.(map[string]any); ok {
		maps.DeleteFunc(m, func(_ string, v any) bool { dropNulls(v); return v == nil })
	}
}

// sealedReasoning may be asked to be included: there is none.
const sealedReasoning = "reasoning.encrypted_content"

// refused are fields whose effect there is not: only the values that ask for nothing are accepted.
func (r *reader) refused() {
	r.only("tools", `[]`)
	r.only("tool_choice", `"auto"`, `"none"`)
	r.only("parallel_tool_calls", `true`, `false`) // of no tools
	r.only("max_tool_calls")
	r.only("include", `[]`, `["`+sealedReasoning+`"]`)
	r.only("reasoning", `{}`)
	r.only("text", `{}`, `{"format":{"type":"text"}}`, `{"format":{"type":"text"},"verbosity":"medium"}`, `{"verbosity":"medium"}`)
	r.only("truncation", `"auto"`, `"disabled"`)
	r.only("service_tier", `"auto"`, `"default"`)
	r.only("top_logprobs", `0`)
	r.only("stream_options", `{}`, `{"include_obfuscation":false}`)
	for _, name := range []string{"prompt", "context_management", "prompt_cache_retention", "modalities", "moderation"} {
		r.only(name)
	}
}

func readOrder(raw []byte) (order, error) {
	r := &reader{}
	if err := json.Unmarshal(raw, &r.fields); err != nil || !utf8.Valid(raw) {
		return order{}, refuse(400, "invalid_json", "", "the request's body must be a JSON object in UTF-8")
	}
	var o order
	o.note.Model = read[string](r, "model", "a string")
	o.note.Background = read[bool](r, "background", "true or false")
	o.stream = read[bool](r, "stream", "true or false")
	o.params = chat.Params{
		Instructions: read[string](r, "instructions", "a string"),
		Temperature:  read[*float64](r, "temperature", "a number"), TopP: read[*float64](r, "top_p", "a number"),
		MaxTokens: read[int](r, "max_output_tokens", "a whole number"),
	}
	r.limits(&o)
	r.threads(&o)
	r.storing(&o)
	o.note.Metadata = r.metadata()
	for _, name := range []string{"user", "safety_identifier", "prompt_cache_key"} {
		if v := read[string](r, name, "a string"); v != "" {
			o.note.Labels = merged(o.note.Labels, name, v)
		}
	}
	r.refused()
	if raw := r.take("input"); raw != nil {
		lines, err := readInput(raw, "input")
		if err != nil {
			r.fail(err)
		}
		o.lines = lines
	}
	r.end()
	return o, r.err
}

func merged(m map[string]string, k, v string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[k] = v
	return m
}

func (r *reader) limits(o *order) {
	switch {
	case o.params.Temperature != nil && (*o.params.Temperature < 0 || *o.params.Temperature > 2):
		r.fail(invalid("temperature", "temperature must be 0 to 2"))
	case o.params.TopP != nil && (*o.params.TopP < 0 || *o.params.TopP > 1):
		r.fail(invalid("top_p", "top_p must be 0 to 1"))
	case o.params.MaxTokens < 0 || o.params.MaxTokens > 1<<30:
		r.fail(invalid("max_output_tokens", "max_output_tokens must be above 0"))
	}
}

// threads reads what the response is to continue.
func (r *reader) threads(o *order) {
	if id := read[string](r, "previous_response_id", "a string"); id != "" {
		previous, ok := refOf(id)
		if !ok {
			r.fail(unknownPrevious(id))
		}
		o.previous, o.note.Previous = &previous, id
	}
	raw := r.take("conversation")
	if raw == nil {
		return
	}
	var id string
	if json.Unmarshal(raw, &id) != nil {
		var named struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(raw, &named) != nil {
			r.fail(invalid("conversation", "conversation must be an id or {\"id\": …}"))
		}
		id = named.ID
	}
	c, ok := chatOf(id)
	if !ok {
		r.fail(unknownConversation(id))
	}
	if o.previous != nil {
		r.fail(invalid("conversation", "give conversation or previous_response_id, not both"))
	}
	o.conversation, o.note.Conversation = c, true
}

// storing reads whether the response is to be found later. What a conversation keeps, and what is polled for, is.
func (r *reader) storing(o *order) {
	store := read[*bool](r, "store", "true or false")
	if store == nil || *store {
		return
	}
	o.note.Unstored = true
	switch {
	case o.note.Conversation:
		r.fail(invalid("store", "a response in a conversation is stored: leave store out, or the conversation"))
	case o.note.Background:
		r.fail(invalid("store", "a response in the background is stored: leave store out, or background"))
	}
}

// metadata is at most 16 pairs of short strings, as OpenAI has it.
func (r *reader) metadata() map[string]string {
	m := read[map[string]string](r, "metadata", "an object of strings")
	long := len(m) > 16
	for k, v := range m {
		long = long || utf8.RuneCountInString(k) > 64 || utf8.RuneCountInString(v) > 512
	}
	if long {
		r.fail(invalid("metadata", "metadata may have 16 pairs, with keys of 64 and values of 512 characters"))
	}
	return m
}

func unknownPrevious(id string) *failure {
	return refuse(404, "previous_response_not_found", "previous_response_id", "Previous response with id '"+id+"' not found.")
}

// provider is the model's name here: clients of OpenAI name its models without a provider.
func provider(model string) string {
	if model == "" || strings.Contains(model, "/") {
		return model
	}
	return "openai/" + model
}
