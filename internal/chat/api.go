package chat

import "encoding/json"

// The requests and replies of the API, the same over NATS and HTTP (CONTRACT section 2). Unknown fields are refused.
type (
	// CreateRequest makes a chat, and opens its first turn if it brings a message.
	CreateRequest struct {
		ID       ID              `json:"id,omitempty"`
		Tenant   string          `json:"tenant,omitempty"`
		Title    string          `json:"title,omitempty"`
		Model    string          `json:"model,omitempty"`
		System   string          `json:"system,omitempty"`
		Metadata json.RawMessage `json:"metadata,omitempty"`
		Message  *FirstMessage   `json:"message,omitempty"`
	}
	// FirstMessage comes with a creation.
	FirstMessage struct {
		Text     *string `json:"text,omitempty"`
		Parts    []Part  `json:"parts,omitempty"`
		ClientID string  `json:"client_id,omitempty"`
	}
	// CreateReply has the message if the request had one.
	CreateReply struct {
		Chat    Chat     `json:"chat"`
		Message *Message `json:"message,omitempty"`
		// Duplicate says that the chat was made before. It is for protocols in this process.
		Duplicate bool `json:"-"`
	}
	// SendRequest adds a user message.
	SendRequest struct {
		Chat     ID      `json:"chat"`
		Text     *string `json:"text,omitempty"`
		Parts    []Part  `json:"parts,omitempty"`
		ClientID string  `json:"client_id,omitempty"`
		Model    string  `json:"model,omitempty"`
		Params   *Params `json:"params,omitempty"`
		Busy     Busy    `json:"busy,omitempty"`
		// After refuses the message unless it would open the turn after this one at once.
		After *int `json:"after,omitempty"`
	}
	// SendReply says whether the message opened a turn or waits in the queue.
	SendReply struct {
		Chat    Chat    `json:"chat"`
		Message Message `json:"message"`
		Queued  bool    `json:"queued"`
		// Duplicate says that the message was accepted before. It is for protocols in this process.
		Duplicate bool `json:"-"`
	}
	// ChatRequest names a chat: get, retry, delete.
	ChatRequest struct {
		Chat ID `json:"chat"`
	}
	// ChatReply is a chat.
	ChatReply struct {
		Chat Chat `json:"chat"`
	}
	// MessagesRequest pages through the transcript, oldest first; After is exclusive.
	MessagesRequest struct {
		Chat  ID    `json:"chat"`
		After int64 `json:"after,omitempty"`
		Limit int   `json:"limit,omitempty"`
	}
	// MessagesReply says in Next after which id to go on, if there is more.
	MessagesReply struct {
		Messages []Message `json:"messages"`
		Next     int64     `json:"next,omitempty"`
	}
	// QueueRequest pages through what waits in the queue; After is the client_id of a message in it, exclusive. One that was taken meanwhile was before
	// all that wait.
	QueueRequest struct {
		Chat  ID     `json:"chat"`
		After string `json:"after,omitempty"`
	}
	// QueueReply has the messages in the order in which they will be taken, and the row of the same moment. Next says after which to go on, if there are more.
	QueueReply struct {
		Chat     Chat      `json:"chat"`
		Messages []Message `json:"messages"`
		Next     string    `json:"next,omitempty"`
	}
	// ListRequest pages through chats, newest first; Cursor is the Next of the page before.
	ListRequest struct {
		Status Status `json:"status,omitempty"`
		Tenant string `json:"tenant,omitempty"`
		Limit  int    `json:"limit,omitempty"`
		Cursor string `json:"cursor,omitempty"`
	}
	// ListReply is a page of chats.
	ListReply struct {
		Chats []Chat `json:"chats"`
		Next  string `json:"next,omitempty"`
	}
	// InterruptRequest stops the current turn, or only the named one.
	InterruptRequest struct {
		Chat ID  `json:"chat"`
		Turn int `json:"turn,omitempty"`
	}
	// TruncateRequest removes a user message and all that follows it, and sends the message again: with other text or parts if they are
	// given, else as it was.
	TruncateRequest struct {
		Chat    ID      `json:"chat"`
		Message int64   `json:"message"`
		Text    *string `json:"text,omitempty"`
		Parts   []Part  `json:"parts,omitempty"`
		Model   string  `json:"model,omitempty"`
		Params  *Params `json:"params,omitempty"`
		Version int64   `json:"version,omitempty"`
	}
	// TruncateReply has the message under its new id.
	TruncateReply struct {
		Chat    Chat    `json:"chat"`
		Message Message `json:"message"`
	}
	// UpdateRequest changes what a chat is called: its title, its metadata as a whole, or both. What is left out stays.
	UpdateRequest struct {
		Chat     ID              `json:"chat"`
		Title    *string         `json:"title,omitempty"`
		Metadata json.RawMessage `json:"metadata,omitempty"`
	}
	// FindRequest names a user message by its sender's id.
	FindRequest struct {
		Chat     ID     `json:"chat"`
		ClientID string `json:"client_id"`
	}
	// FindReply is a message.
	FindReply struct {
		Message Message `json:"message"`
	}
	// WorkersRequest has no fields.
	WorkersRequest struct{}
	// WorkersReply lists the registered replicas.
	WorkersReply struct {
		Workers []Worker `json:"workers"`
	}
	// DeleteReply is empty.
	DeleteReply struct{}
)
