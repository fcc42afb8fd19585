package chat

import (
	"crypto/sha256"
	"encoding/json"
	"reflect"
)

// Digest identifies the content of a creation, so that the same creation sent again is recognised and another one under
// the same id is a conflict. A client_id that was made here does not count: the sender did not choose it.
func (c NewChat) Digest() [sha256.Size]byte {
	content := struct {
		Tenant, Title, Model, System string
		Metadata                     any
		Message                      *NewMessage
	}{Tenant: c.Tenant, Title: c.Title, Model: c.Model, System: c.System, Metadata: canonical(c.Metadata)}
	if c.Message != nil {
		m := *c.Message
		m.Chat, m.Busy = "", ""
		if m.Generated {
			m.ClientID = ""
		}
		content.Message = &m
	}
	raw, err := json.Marshal(content)
	if err != nil {
		panic("digest of a validated creation: " + err.Error())
	}
	return sha256.Sum256(raw)
}

// SameContent reports whether an accepted message says what m says. JSON is compared by value: Postgres stores it normalised.
func (m NewMessage) SameContent(accepted Message) bool {
	return m.Model == accepted.Model && reflect.DeepEqual(m.Parts, accepted.Parts) &&
		reflect.DeepEqual(canonical(m.Params), canonical(accepted.Params))
}

func canonical(raw json.RawMessage) any {
	var v any
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}
