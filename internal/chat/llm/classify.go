package llm

import (
	"net/http"
	"strings"

	"processor/internal/chat"
)

// classify turns what a provider said into one of our codes, and into the verdict whether the same call may succeed
// later. Words come before numbers where providers use one status for several things: OpenAI says 429 to who has not paid,
// Anthropic says 400 to that, and nearly everybody says 400 to a history that is too long.
func classify(f *failure) (code string, retry bool) {
	switch {
	case outOfQuota(f):
		return chat.CodeQuota, false
	case tooLong(f):
		return chat.CodeContextOverflow, false
	case unknownModel(f):
		return chat.CodeUnknownModel, false
	case f.status == http.StatusUnauthorized, f.status == http.StatusForbidden, f.is("authentication_error", "permission_error", "invalid_api_key"):
		return chat.CodeAuth, false
	case f.status == http.StatusTooManyRequests, f.is("rate_limit_error", "rate_limit_exceeded"):
		return chat.CodeRateLimited, true
	case f.status == http.StatusRequestTimeout, f.status == http.StatusConflict, f.status >= http.StatusInternalServerError:
		return chat.CodeUnavailable, true
	case f.status == 0 && !f.is("invalid_request_error", "BadRequestError"):
		return chat.CodeUnavailable, true
	default:
		return chat.CodeBadRequest, false
	}
}

// is reports whether the provider named the error so, as its type or its code.
func (f *failure) is(names ...string) bool {
	for _, name := range names {
		if f.kind == name || f.code == name {
			return true
		}
	}
	return false
}

func (f *failure) says(phrases ...string) bool {
	message := strings.ToLower(f.message)
	for _, phrase := range phrases {
		if strings.Contains(message, phrase) {
			return true
		}
	}
	return false
}

func outOfQuota(f *failure) bool {
	return f.status == http.StatusPaymentRequired ||
		f.is("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error") ||
		f.status == http.StatusBadRequest && f.says("credit balance is too low")
}

// tooLong knows the words of OpenAI, Anthropic, vLLM, Ollama, llama.cpp, TGI, Mistral, Gemini and Bedrock. They count only
// with a status that could mean it: the limit of tokens in a minute, a 429, is told with words like these.
func tooLong(f *failure) bool {
	if f.status == http.StatusRequestEntityTooLarge || f.is("context_length_exceeded", "exceed_context_size_error", "request_too_large") {
		return true
	}
	switch f.status {
	case 0, http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusInternalServerError:
	default:
		return false
	}
	return f.says(
		"context length", "context window", "context size", "context limit", "prompt is too long", "input is too long",
		"maximum prompt length", "maximum model length", "maximum number of tokens allowed", "reduce the length of the messages",
		"tokens must have less than", "inputs` must have less than",
	)
}

// unknownModel takes every 404 for one: the other reason is a base URL that is wrong, and the advice names both.
func unknownModel(f *failure) bool {
	if f.status == http.StatusNotFound || f.is("model_not_found", "not_found_error") {
		return true
	}
	return f.status == http.StatusBadRequest && f.says("model") &&
		f.says("does not exist", "not a valid model", "invalid model name", "model not found")
}
