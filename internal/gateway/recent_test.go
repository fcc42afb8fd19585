package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"processor/internal/chat"
	"processor/internal/gateway/wire"
)

func TestAFrameIsOnlyForTheDeltaThatItWasMadeOf(t *testing.T) {
	t.Parallel()
	base := deltaKey{chat: "a", at: cursor{1, 2, chat.Mark{Attempt: 3, Place: 4}}, step: 5, delta: chat.Delta{Kind: chat.TextDelta, Text: "said"}}
	keys := []deltaKey{base}
	for _, change := range []func(k *deltaKey){
		func(k *deltaKey) { k.chat = "b" },
		func(k *deltaKey) { k.at.number += 256 },
		func(k *deltaKey) { k.at.turn++ },
		func(k *deltaKey) { k.at.Attempt++ },
		func(k *deltaKey) { k.at.Place += 256 },
		func(k *deltaKey) { k.step++ },
		func(k *deltaKey) { k.delta.Kind = chat.ReasoningDelta },
		func(k *deltaKey) { k.delta.Text = "sad" },
		func(k *deltaKey) { k.delta.Text = strings.Repeat("long", keptDelta) },
	} {
		k := base
		change(&k)
		keys = append(keys, k) // all have the same place
	}
	var r recent
	made := map[deltaKey]int{}
	get := func(k deltaKey) wire.Frame {
		return r.frame(k, func() wire.Frame { made[k]++; return wire.Frame{ID: fmt.Sprint(k)} })
	}
	for _, k := range keys {
		for range 3 {
			if d := cmp.Diff(wire.Frame{ID: fmt.Sprint(k)}, get(k)); d != "" {
				t.Errorf("%+v: %s", k, d)
			}
		}
	}
	for _, k := range keys {
		if want := 1 + 2*(len(k.delta.Text)/keptDelta/4); made[k] != want {
			t.Errorf("the frame of %.80s was made %d times, want %d", fmt.Sprint(k), made[k], want)
		}
	}
}
