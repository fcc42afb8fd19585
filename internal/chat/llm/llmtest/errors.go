package llmtest

import "errors"

// errRefused marks an answer that was an error from the start.
var errRefused = errors.New("refused")

// byWire picks the error that the provider of the call's format would send.
func byWire(openAI, anthropic Error) Step {
	return func(s *Stream) error {
		if s.call.Wire == Anthropic {
			return Refuse(anthropic)(s)
		}
		return Refuse(openAI)(s)
	}
}

// WrongKey refuses the key, and says it back as some providers do.
func WrongKey() Step {
	return func(s *Stream) error {
		return byWire(
			Error{401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: " + s.call.Key + "."},
			Error{401, "authentication_error", "", "invalid x-api-key " + s.call.Key},
		)(s)
	}
}

// RateLimited refuses because of too many calls.
func RateLimited() Step {
	return byWire(
		Error{429, "requests", "rate_limit_exceeded", "Rate limit reached for requests"},
		Error{429, "rate_limit_error", "", "This request would exceed your organization's rate limit"},
	)
}

// NoQuota refuses because nobody pays.
func NoQuota() Step {
	return byWire(
		Error{429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."},
		Error{400, "invalid_request_error", "", "Your credit balance is too low to access the Anthropic API."},
	)
}

// Overloaded refuses because of too much work.
func Overloaded() Step {
	return byWire(
		Error{503, "server_error", "", "The engine is currently overloaded, please try again later"},
		Error{529, "overloaded_error", "", "Overloaded"},
	)
}

// NoSuchModel refuses the model.
func NoSuchModel() Step {
	return func(s *Stream) error {
		return byWire(
			Error{404, "invalid_request_error", "model_not_found", "The model `" + s.call.Model + "` does not exist or you do not have access to it."},
			Error{404, "not_found_error", "", "model: " + s.call.Model},
		)(s)
	}
}

// TooLong refuses the length of the history.
func TooLong() Step {
	return byWire(
		Error{400, "invalid_request_error", "context_length_exceeded", "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."},
		Error{400, "invalid_request_error", "", "prompt is too long: 210000 tokens > 200000 maximum"},
	)
}
