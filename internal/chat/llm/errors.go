package llm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"processor/internal/chat"
)

// maxMessage bounds what is told of a provider's own words. People read it, and it is stored with the chat.
const maxMessage = 300

// maxAfter bounds the wait that a provider may ask for.
const maxAfter = time.Hour

// failure is what a provider said went wrong. The status is zero in the middle of a stream.
type failure struct {
	status              int
	kind, code, message string
	after               time.Duration
	// answered: it came in place of an answer, with the status of success.
	answered bool
}

func (f *failure) Error() string { return "the provider answered " + strconv.Itoa(f.status) }

func newFailure(status int, header http.Header, body []byte) *failure {
	f := parseFailure(body)
	if f.status == 0 || status != 0 {
		f.status = status
	}
	f.after = retryAfter(header, time.Now())
	return f
}

// provider is what the errors of an adapter need to know about it.
type provider struct {
	name   string
	advice map[string]string
	secret []string
}

func newProvider(name, prefix, key, baseURL string) provider {
	p := provider{name: name, secret: []string{key}, advice: map[string]string{
		chat.CodeAuth:            "check " + prefix + "_API_KEY",
		chat.CodeQuota:           "check the plan and the billing of the account",
		chat.CodeUnknownModel:    "check the name of the model and " + prefix + "_BASE_URL",
		chat.CodeContextOverflow: "start a new chat, or send less of the history",
		chat.CodeBadResponse:     "check " + prefix + "_BASE_URL",
	}}
	if u, err := url.Parse(baseURL); err == nil && u.User != nil {
		password, _ := u.User.Password()
		p.secret = append(p.secret, password)
	}
	return p
}

// fail makes the error that Stream returns. A cancelled ctx comes first: everything else may be its consequence.
func (p provider) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var f *failure
	if errors.As(err, &f) {
		return p.refused(f)
	}
	var modelErr *chat.ModelError
	if errors.As(err, &modelErr) {
		return modelErr
	}
	var other noStream
	if errors.As(err, &other) {
		e := p.badResponse(other.Error())
		e.Message += "; " + p.advice[chat.CodeBadResponse]
		return e
	}
	if badResponse(err) {
		return p.badResponse(err.Error())
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL may hold a password, and says nothing new
	}
	return &chat.ModelError{
		Code: chat.CodeConnection, Retry: true,
		Message: "the connection to " + p.name + " failed: " + p.quote(err.Error()),
	}
}

func badResponse(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, errEventTooLong) || errors.Is(err, bufio.ErrTooLong)
}

func (p provider) badResponse(why string) *chat.ModelError {
	return &chat.ModelError{
		Code: chat.CodeBadResponse, Retry: true,
		Message: p.name + " sent what cannot be read: " + p.quote(why),
	}
}

func (p provider) truncated() *chat.ModelError {
	return &chat.ModelError{
		Code: chat.CodeConnection, Retry: true,
		Message: p.name + " ended the stream in the middle of the answer",
	}
}

func (p provider) refused(f *failure) *chat.ModelError {
	code, retry := classify(f)
	e := &chat.ModelError{Code: code, Retry: retry, After: f.after}
	said := p.quote(f.message)
	if said == "" {
		said = http.StatusText(f.status)
	}
	switch {
	case f.answered:
		e.Message = p.name + " answered with an error: " + said
	case f.status == 0:
		e.Message = p.name + " failed in the middle of the answer: " + said
	case f.status/100 == 3:
		e.Message = p.name + " redirects, which is not followed: set the base URL to where it leads"
	default:
		e.Message = p.name + " answered " + strconv.Itoa(f.status) + ": " + said
	}
	if advice := p.advice[code]; advice != "" {
		e.Message = strings.TrimRight(e.Message, ".") + "; " + advice
	}
	return e
}

// quote makes a provider's words fit to be shown and stored: no secret, one line, no more than 300 bytes.
func (p provider) quote(s string) string {
	for _, secret := range p.secret {
		// What is this short is a placeholder, such as "none", and cutting it out would only garble words.
		if len(secret) >= 8 {
			s = strings.ReplaceAll(s, secret, "[key]")
		}
	}
	s = chat.Clean(strings.Join(strings.Fields(s), " "))
	if len(s) <= maxMessage {
		return s
	}
	cut := maxMessage
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// parseFailure reads the shapes that errors come in: {"error":{…}} of both APIs, {"error":"…"}, the bare object of older
// vLLM, {"detail":"…"} of FastAPI, and plain text.
func parseFailure(body []byte) *failure {
	type object struct {
		Type, Code, Message, Detail json.RawMessage
	}
	var outer struct {
		object
		Error json.RawMessage
	}
	if json.Unmarshal(body, &outer) != nil {
		return &failure{message: plainText(body)}
	}
	e := outer.object
	if len(outer.Error) > 0 && outer.Error[0] == '{' {
		e = object{}
		if json.Unmarshal(outer.Error, &e) != nil {
			return &failure{message: plainText(outer.Error)}
		}
	} else if len(outer.Error) > 0 {
		e.Message = outer.Error
	}
	f := &failure{kind: scalar(e.Type), code: scalar(e.Code), message: scalar(e.Message)}
	if f.message == "" {
		f.message = scalar(e.Detail)
	}
	// Some send the status as the code, in the middle of a stream too, where there is no other.
	if n, err := strconv.Atoi(f.code); err == nil && n >= 400 && n < 600 {
		f.status = n
	}
	return f
}

// scalar is the text of a JSON string, or the JSON of anything else.
func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// plainText drops the page of a proxy, of which the status says all.
func plainText(body []byte) string {
	text := strings.TrimSpace(string(body))
	if strings.HasPrefix(text, "<") {
		return ""
	}
	return text
}

// retryAfter reads how long a provider asks to wait. A date is judged by the provider's own clock when it says what that
// shows, so that ours may be wrong.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return boundAfter(ms / 1000)
	}
	value := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(value, 64); err == nil {
		return boundAfter(s)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return boundAfter(at.Sub(now).Seconds())
}

func boundAfter(seconds float64) time.Duration {
	// Written so that NaN is no wait.
	if !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, maxAfter.Seconds()) * float64(time.Second))
}
