package chat

import (
	"errors"
	"fmt"
)

// Code is a stable word for what went wrong; callers branch on it.
type Code string

// The codes that callers see, each with its HTTP-like number in Code.Status.
const (
	Malformed   Code = "malformed"
	NotFound    Code = "not_found"
	Conflict    Code = "conflict"
	TooLarge    Code = "too_large"
	Invalid     Code = "invalid"
	Full        Code = "full"
	Unavailable Code = "unavailable"
	// These come over HTTP only.
	Unauthorized Code = "unauthorized"
	Forbidden    Code = "forbidden"
	NotAllowed   Code = "method_not_allowed"
)

// Status is the number that goes with the code on the wire.
func (c Code) Status() int {
	switch c {
	case Malformed:
		return 400
	case Unauthorized:
		return 401
	case Forbidden:
		return 403
	case NotFound:
		return 404
	case NotAllowed:
		return 405
	case Conflict:
		return 409
	case TooLarge:
		return 413
	case Invalid:
		return 422
	case Full:
		return 429
	default:
		return 503
	}
}

// Error is a refusal that a caller may see: nothing was written.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Field names the part of the request that was refused, if it is one part.
	Field string `json:"field,omitempty"`
}

func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("%s: %s (%s)", e.Code, e.Message, e.Field)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Errorf makes a refusal.
func Errorf(code Code, field, format string, args ...any) *Error {
	return &Error{Code: code, Field: field, Message: fmt.Sprintf(format, args...)}
}

// ErrNotFound makes the refusal of a chat that does not exist.
func ErrNotFound(id ID) *Error { return Errorf(NotFound, "chat", "there is no chat %q", string(id)) }

// Refusals of the writes of a run. They come from the store and are final: repeating the write changes nothing.
var (
	// ErrNothingToDo: the chat is not pending, or is gone. The dispatch is acked and dropped.
	ErrNothingToDo = errors.New("nothing to do")
	// ErrSuspect: the chat killed its last owners, and the claimer had no suspect slot.
	ErrSuspect = errors.New("chat is a suspect")
	// ErrNotEntitled: the claiming worker is lost, draining or unknown.
	ErrNotEntitled = errors.New("worker may not claim")
	// ErrFenced: the row has moved on; the run has lost its chat (I2).
	ErrFenced = errors.New("fenced: the chat has moved on")
	// ErrInterrupted: a Fail or Backoff met a request to interrupt; the turn has to finish as interrupted.
	ErrInterrupted = errors.New("turn was asked to stop")
	// ErrBadData: the database refused the data itself; the turn has to fail.
	ErrBadData = errors.New("data refused by the database")
)

// Causes with which a run's context is cancelled. context.Canceled alone never decides anything.
var (
	CauseShutdown    = errors.New("replica shuts down")
	CauseInterrupted = errors.New("turn interrupted")
	CauseLeaseLost   = errors.New("lease lost")
	CauseDeleted     = errors.New("chat deleted")
	CauseStalled     = errors.New("model stalled")
	CauseOversize    = errors.New("answer reached its size limit")
)
