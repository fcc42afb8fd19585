package llm

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"processor/internal/chat"
)

func TestARequestIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	t.Parallel()
	schemas := []string{`{}`, `{ "type" : "object", "properties" : {"<a>" : {}} }`, `true`, `{"a":`, ``, "{} x"}
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.Make[openAIRequest]().Draw(t, "request")
		r.Messages = append([]openAIMessage{}, r.Messages...)
		for i := range r.Tools {
			r.Tools[i].Function.Parameters = json.RawMessage(rapid.SampledFrom(schemas).Draw(t, "schema"))
		}
		want, wantErr := chat.Marshal(r)
		got, err := r.encode()
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, encoding/json has %v", err, wantErr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("written otherwise than by encoding/json (-want +got):\n%s", diff)
		}
	})
}
