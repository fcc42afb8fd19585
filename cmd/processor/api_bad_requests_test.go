package main

import (
	"strings"

	"processor/internal/chat"
)

// badRequest is one request that must be refused.
type badRequest struct {
	subject, request string
	status           int
	code             chat.Code
	field            string
}

func badRequests() []badRequest {
	text := func(chat, text string) string {
		raw, _ := chatMarshal(map[string]string{"chat": chat, "text": text})
		return raw
	}
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	long := strings.Repeat("x", 256<<10+1)
	half := strings.Repeat("x", 128<<10)
	return []badRequest{
		{"chats.send", `not JSON`, 400, chat.Malformed, ""},
		{"chats.send", `[]`, 400, chat.Malformed, ""},
		{"chats.send", `"idle"`, 400, chat.Malformed, ""},
		{"chats.send", `{"chat":"idle","text":"a"`, 400, chat.Malformed, ""},
		{"chats.send", `{"chat":"idle","text":"a"} {}`, 400, chat.Malformed, ""},
		{"chats.send", `{"chat":"idle","text":"a","txet":"b"}`, 400, chat.Malformed, ""},
		{"chats.send", `{"chat":"idle","text":5}`, 400, chat.Malformed, "text"},
		{"chats.send", `{"chat":7,"text":"a"}`, 400, chat.Malformed, "chat"},
		{"chats.send", strings.Repeat("[", 20_000), 400, chat.Malformed, ""},
		{"chats.send", ``, 422, chat.Invalid, "chat"},
		{"chats.send", `{"text":"a"}`, 422, chat.Invalid, "chat"},
		{"chats.send", `{"chat":"a.b","text":"a"}`, 422, chat.Invalid, "chat"},
		{"chats.send", `{"chat":"a b","text":"a"}`, 422, chat.Invalid, "chat"},
		{"chats.send", `{"chat":"*","text":"a"}`, 422, chat.Invalid, "chat"},
		{"chats.send", `{"chat":"` + strings.Repeat("a", 65) + `","text":"a"}`, 422, chat.Invalid, "chat"},
		{"chats.send", `{"chat":"nobody","text":"a"}`, 404, chat.NotFound, "chat"},
		{"chats.send", text("idle", long), 413, chat.TooLarge, "text"},
		{"chats.send", `{"chat":"idle","parts":[{"type":"text","text":"` + half + `"},{"type":"text","text":"` + half + `x"}]}`, 413, chat.TooLarge, "parts"},
		{"chats.send", `{"chat":"idle","text":"` + strings.Repeat(`\u0001`, 100<<10) + `"}`, 413, chat.TooLarge, "text"},
		{"chats.send", `{"chat":"idle","parts":[` + strings.Repeat(`{"type":"text","text":"a"},`, 1000) + `{"type":"text","text":"a"}]}`, 413, chat.TooLarge, "parts"},
		{"chats.send", "{\"chat\":\"idle\",\"text\":\"a\xffb\"}", 422, chat.Invalid, ""},
		{"chats.send", `{"chat":"idle","text":"a\u0000b"}`, 422, chat.Invalid, "text"},
		{"chats.send", `{"chat":"idle","text":""}`, 422, chat.Invalid, "text"},
		{"chats.send", `{"chat":"idle"}`, 422, chat.Invalid, "text"},
		{"chats.send", `{"chat":"idle","parts":[]}`, 422, chat.Invalid, "text"},
		{"chats.send", `{"chat":"idle","text":"a","parts":[{"type":"text","text":"a"}]}`, 422, chat.Invalid, "parts"},
		{"chats.send", `{"chat":"idle","parts":[{"type":"image","text":"a"}]}`, 422, chat.Invalid, "parts"},
		{"chats.send", `{"chat":"idle","parts":[{"type":"tool_result","call_id":"1","text":"a"}]}`, 422, chat.Invalid, "parts"},
		{"chats.send", `{"chat":"idle","text":"a","busy":"whatever"}`, 422, chat.Invalid, "busy"},
		{"chats.send", `{"chat":"idle","text":"a","model":"gpt"}`, 422, chat.Invalid, "model"},
		{"chats.send", `{"chat":"idle","text":"a","model":"openai/a\u0000"}`, 422, chat.Invalid, "model"},
		{"chats.send", `{"chat":"idle","text":"a","params":{"temperature":"hot"}}`, 400, chat.Malformed, "params.temperature"},
		{"chats.send", `{"chat":"idle","text":"a","params":{"temperature":1e999}}`, 400, chat.Malformed, "params.temperature"},
		{"chats.send", `{"chat":"idle","text":"a","client_id":"` + strings.Repeat("a", 201) + `"}`, 422, chat.Invalid, "client_id"},
		{"chats.send", `{"chat":"idle","text":"a","client_id":"a\u0000"}`, 422, chat.Invalid, "client_id"},
		{"chats.send", `{"chat":"idle","text":"other","client_id":"known"}`, 409, chat.Conflict, "client_id"},
		{"chats.send", `{"chat":"busy","text":"other","client_id":"queued-1"}`, 409, chat.Conflict, "client_id"},
		{"chats.send", `{"chat":"busy","text":"a","busy":"reject"}`, 409, chat.Conflict, "status"},
		{"chats.send", `{"chat":"busy","text":"a"}`, 429, chat.Full, "queue"},
		{"chats.send", `{"chat":"busy","text":"a","busy":"interrupt"}`, 429, chat.Full, "queue"},

		{"chats.create", `{"id":"a/b"}`, 422, chat.Invalid, "id"},
		{"chats.create", `{"id":"idle","title":"other"}`, 409, chat.Conflict, "id"},
		{"chats.create", `{"title":"` + strings.Repeat("ü", 201) + `"}`, 422, chat.Invalid, "title"},
		{"chats.create", `{"title":"\u0000"}`, 422, chat.Invalid, "title"},
		{"chats.create", `{"tenant":"a b"}`, 422, chat.Invalid, "tenant"},
		{"chats.create", `{"model":"/x"}`, 422, chat.Invalid, "model"},
		{"chats.create", `{"system":"` + long + `"}`, 413, chat.TooLarge, "system"},
		{"chats.create", `{"system":"` + strings.Repeat(`\n`, 200<<10) + `"}`, 413, chat.TooLarge, "system"},
		{"chats.create", `{"system":"\u0000"}`, 422, chat.Invalid, "system"},
		{"chats.create", `{"metadata":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`, 413, chat.TooLarge, "metadata"},
		{"chats.create", `{"metadata":[1]}`, 422, chat.Invalid, "metadata"},
		{"chats.create", `{"metadata":"a"}`, 422, chat.Invalid, "metadata"},
		{"chats.create", `{"metadata":{"a":["\u0000"]}}`, 422, chat.Invalid, "metadata"},
		{"chats.create", `{"metadata":{"\u0000":1}}`, 422, chat.Invalid, "metadata"},
		{"chats.create", `{"metadata":{"a":1e999999}}`, 422, chat.Invalid, "metadata"},
		{"chats.create", `{"metadata":` + nested(3000) + `}`, 413, chat.TooLarge, "metadata"},
		{"chats.create", `{"metadata":` + nested(2000) + `}`, 422, chat.Invalid, "metadata"},
		{"chats.create", `{"message":{}}`, 422, chat.Invalid, "text"},
		{"chats.create", `{"message":{"text":""}}`, 422, chat.Invalid, "text"},
		{"chats.create", `{"message":{"text":"a","busy":"queue"}}`, 400, chat.Malformed, ""},

		{"chats.get", `{"chat":"nobody"}`, 404, chat.NotFound, "chat"},
		{"chats.get", `{"chat":"idle","turn":1}`, 400, chat.Malformed, ""},
		{"chats.messages", `{"chat":"nobody"}`, 404, chat.NotFound, "chat"},
		{"chats.messages", `{"chat":"idle","limit":201}`, 422, chat.Invalid, "limit"},
		{"chats.messages", `{"chat":"idle","limit":-1}`, 422, chat.Invalid, "limit"},
		{"chats.messages", `{"chat":"idle","after":"1"}`, 400, chat.Malformed, "after"},
		{"chats.messages", `{"chat":"idle","after":9223372036854775808}`, 400, chat.Malformed, "after"},
		{"chats.queue", `{"chat":"nobody"}`, 404, chat.NotFound, "chat"},
		{"chats.queue", `{"chat":"a b"}`, 422, chat.Invalid, "chat"},
		{"chats.queue", `{"chat":"busy","after":"` + strings.Repeat("a", 201) + `"}`, 422, chat.Invalid, "after"},
		{"chats.queue", `{"chat":"busy","after":"a\u0000"}`, 422, chat.Invalid, "after"},
		{"chats.queue", `{"chat":"busy","limit":1}`, 400, chat.Malformed, ""},
		{"chats.list", `{"status":"busy"}`, 422, chat.Invalid, "status"},
		{"chats.list", `{"tenant":"a b"}`, 422, chat.Invalid, "tenant"},
		{"chats.list", `{"limit":1000}`, 422, chat.Invalid, "limit"},
		{"chats.list", `{"cursor":"!"}`, 422, chat.Invalid, "cursor"},
		{"chats.list", `{"cursor":"-1"}`, 422, chat.Invalid, "cursor"},
		{"chats.list", `{"cursor":"zzzzzzzzzzzzzz"}`, 422, chat.Invalid, "cursor"},
		{"chats.interrupt", `{"chat":"nobody"}`, 404, chat.NotFound, "chat"},
		{"chats.interrupt", `{"chat":"busy","turn":-1}`, 422, chat.Invalid, "turn"},
		{"chats.interrupt", `{"chat":"busy","turn":3000000000}`, 422, chat.Invalid, "turn"},
		{"chats.interrupt", `{"chat":"busy","turn":1.5}`, 400, chat.Malformed, "turn"},
		{"chats.retry", `{"chat":"nobody"}`, 404, chat.NotFound, "chat"},
		{"chats.update", `{"chat":"nobody","title":"t"}`, 404, chat.NotFound, "chat"},
		{"chats.update", `{"chat":"a b","title":"t"}`, 422, chat.Invalid, "chat"},
		{"chats.update", `{"chat":"idle"}`, 422, chat.Invalid, "metadata"},
		{"chats.update", `{"chat":"idle","metadata":null}`, 422, chat.Invalid, "metadata"},
		{"chats.update", `{"chat":"idle","metadata":[1]}`, 422, chat.Invalid, "metadata"},
		{"chats.update", `{"chat":"idle","metadata":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`, 413, chat.TooLarge, "metadata"},
		{"chats.update", `{"chat":"idle","title":"` + strings.Repeat("ü", 201) + `"}`, 422, chat.Invalid, "title"},
		{"chats.update", `{"chat":"idle","title":"\u0000"}`, 422, chat.Invalid, "title"},
		{"chats.update", `{"chat":"idle","title":"t","model":"demo/echo"}`, 400, chat.Malformed, ""},
		{"chats.truncate", `{"chat":"nobody","message":1}`, 404, chat.NotFound, "chat"},
		{"chats.truncate", `{"chat":"idle"}`, 422, chat.Invalid, "message"},
		{"chats.truncate", `{"chat":"idle","message":0}`, 422, chat.Invalid, "message"},
		{"chats.truncate", `{"chat":"idle","message":9223372036854775807}`, 404, chat.NotFound, "message"},
		{"chats.truncate", `{"chat":"idle","message":1,"text":""}`, 422, chat.Invalid, "text"},
		{"chats.truncate", `{"chat":"idle","message":1,"text":"a","parts":[]}`, 422, chat.Invalid, "parts"},
		{"chats.truncate", `{"chat":"idle","message":1,"version":-1}`, 422, chat.Invalid, "version"},
		{"chats.truncate", `{"chat":"idle","message":1,"version":1000000}`, 409, chat.Conflict, "version"},
		{"chats.truncate", `{"chat":"idle","message":1,"model":"nonsense"}`, 422, chat.Invalid, "model"},
		{"chats.truncate", `{"chat":"idle","message":1,"client_id":"a"}`, 400, chat.Malformed, ""},
		{"chats.delete", `{"chat":"nobody"}`, 404, chat.NotFound, "chat"},
		{"chats.delete", `{}`, 422, chat.Invalid, "chat"},
		{"chats.workers", `{"status":"live"}`, 400, chat.Malformed, ""},
	}
}
