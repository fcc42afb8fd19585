package responses

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"processor/internal/chat"
)

// passLimit bounds each of what is done for a response that is not stored whether its client is still there or not.
const passLimit = 10 * time.Second

// pass answers with a response that is not stored. Postgres has to hold it while it is made, in a chat that nothing of this protocol finds. The request
// alone owns that chat and deletes it in the end, however it ends: with the answer, with the client that leaves, since nobody can come back to it, or with
// this replica's drain. A request that is sent again begins anew. What a replica that is killed leaves behind is a chat like any other.
func (a *API) pass(w http.ResponseWriter, r *http.Request, o order) error {
	o.own = chat.ID(passing + rand.Text())
	lasting := context.WithoutCancel(r.Context())
	defer func() {
		ctx, cancel := context.WithTimeout(lasting, passLimit)
		defer cancel()
		if err := a.delete(ctx, o.own); err != nil && !is(err, chat.NotFound, "") {
			_ = a.kit.Refusal(r, err) // which logs it; the answer is out
		}
	}()
	// A write whose client has left may still be carried out, and then there is something to delete.
	ctx, cancel := context.WithTimeout(lasting, passLimit)
	of, err := a.accept(ctx, o, key{})
	cancel()
	switch {
	case err != nil:
		return err
	case o.stream:
		return a.stream(w, r, of, -1)
	}
	return a.wait(w, r, of)
}
