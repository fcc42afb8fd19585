package chattest

import (
	"processor/internal/chat"
)

// label is the row without what an update changes.
func label(c chat.Chat) (string, string, chat.Chat) {
	title, metadata := c.Title, string(c.Metadata)
	c.Title, c.Metadata, c.Version, c.UpdatedAt = "", nil, 0, c.CreatedAt
	return title, metadata, c
}

func updating() []rule {
	return []rule{
		{"an update changes title and metadata as a whole, and nothing else, whatever the chat does", func(k *kit) {
			for _, s := range chat.Statuses() {
				id := chat.ID(s)
				k.reach(id, chat.WorkerID("w-"+id), s, variant{queued: s != chat.Waiting})
				before := k.status(id)
				title := "t"
				out, err := k.s.Update(k.ctx, chat.Labelling{Chat: id, Title: &title, Metadata: []byte(`{"k": "v"}`)})
				k.ok(err)
				k.equal("outcome", []any{out.Changed, out.From, len(out.Messages), out.Chat.Version}, []any{true, s, 0, before.Version + 1})
				_, _, was := label(before)
				got, metadata, is := label(k.status(id))
				k.equal("labels", []string{got, metadata}, []string{"t", `{"k": "v"}`})
				k.equal("the rest of the row", is, was)
			}
		}},
		{"what an update leaves out stays", func(k *kit) {
			_, err := k.s.Create(k.ctx, chat.NewChat{ID: "a", Title: "first", Metadata: []byte(`{"k": "v"}`)})
			k.ok(err)
			title := ""
			_, err = k.s.Update(k.ctx, chat.Labelling{Chat: "a", Title: &title})
			k.ok(err)
			out, err := k.s.Update(k.ctx, chat.Labelling{Chat: "a", Metadata: []byte(`{}`)})
			k.ok(err)
			got, metadata, _ := label(out.Chat)
			k.equal("labels", []string{got, metadata}, []string{"", "{}"})
		}},
		{"a run goes on over an update, under the lease that it has", func(k *kit) {
			k.register("w")
			l := k.own("a", "w")
			_, err := k.s.Update(k.ctx, chat.Labelling{Chat: "a", Metadata: []byte(`{"k": "v"}`)})
			k.ok(err)
			k.finish(l, "hi")
			k.row("a", state{Status: chat.Waiting, Turn: 1, Step: 1, Epoch: 1})
		}},
		{"the creation again finds the chat under its new labels", func(k *kit) {
			n := chat.NewChat{ID: "a", Title: "first"}
			_, err := k.s.Create(k.ctx, n)
			k.ok(err)
			title := "second"
			_, err = k.s.Update(k.ctx, chat.Labelling{Chat: "a", Title: &title})
			k.ok(err)
			again, err := k.s.Create(k.ctx, n)
			k.ok(err)
			k.equal("again", []any{again.Duplicate, again.Chat.Title}, []any{true, "second"})
		}},
	}
}
