package responses

import (
	"errors"
	"net/http"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

// failure is an error in the form that OpenAI's clients read.
type failure struct {
	status  int
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (f *failure) Error() string { return f.Message }

func refuse(status int, code, param, message string) *failure {
	f := &failure{status: status, Message: message, Type: "invalid_request_error", Code: &code}
	if param != "" {
		f.Param = &param
	}
	return f
}

func unsupported(param string) *failure {
	return refuse(http.StatusBadRequest, "unsupported_parameter", param, "this server does not support '"+param+"' with this value")
}

func invalid(param, message string) *failure {
	return refuse(http.StatusBadRequest, "invalid_value", param, message)
}

func unknownResponse(id string) *failure {
	return refuse(http.StatusNotFound, "response_not_found", "", "Response with id '"+id+"' not found.")
}

func unknownConversation(id string) *failure {
	return refuse(http.StatusNotFound, "conversation_not_found", "", "Conversation with id '"+id+"' not found.")
}

func unknownItem(id string) *failure {
	return refuse(http.StatusNotFound, "item_not_found", "", "Item with id '"+id+"' not found.")
}

func locked() *failure {
	return refuse(http.StatusConflict, "conversation_locked", "", "Another response of this conversation is in progress. Retry when it is over, or cancel it.")
}

// serve makes a handler of f, whose error is answered in OpenAI's form.
func (a *API) serve(f func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		if err == nil {
			return
		}
		var told *failure
		if !errors.As(err, &told) {
			e := a.kit.Refusal(r, err)
			wire.RetryAfter(w, e)
			told = translate(e)
		}
		if told.status == http.StatusConflict && told.Code != nil && *told.Code != "conversation_locked" {
			w.Header().Set("X-Should-Retry", "false") // official clients repeat what got a 409, and this will be one again
		}
		// What can't be written has nobody to read it.
		_ = a.kit.Write(w, told.status, struct {
			Error *failure `json:"error"`
		}{told})
	})
}

// translate says a refusal of the domain as OpenAI says such things.
func translate(e *chat.Error) *failure {
	f := refuse(e.Code.Status(), string(e.Code), e.Field, e.Message)
	switch e.Code {
	case chat.Invalid, chat.Malformed:
		f.status = http.StatusBadRequest
	case chat.Full:
		f.Type = "rate_limit_error"
	case chat.Unavailable:
		f.Type = "server_error"
	case chat.NotFound, chat.Conflict, chat.TooLarge, chat.Unauthorized, chat.Forbidden, chat.NotAllowed:
	}
	return f
}

// is reports whether err is a refusal with that code, of that field unless it is empty.
func is(err error, code chat.Code, field string) bool {
	var e *chat.Error
	return errors.As(err, &e) && e.Code == code && (field == "" || e.Field == field)
}
