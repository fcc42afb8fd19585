package wire

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestGatheredFramesAreWrittenTogether(t *testing.T) {
	t.Parallel()
	k := New(Config{})
	read := make(chan struct{})
	host := serve(t, k.Handle(func(w http.ResponseWriter, r *http.Request) error {
		s, err := k.Open(w, r)
		if err != nil {
			return err
		}
		defer s.Close()
		err = s.Gather(Frame{Data: []byte(strings.Repeat("x", maxGathered))}) // as much as this is not kept
		<-read
		err = errors.Join(err, s.Gather(Frame{Data: []byte("a")}), s.Gather(Frame{Data: []byte("b")}), s.Gather(), s.Flush(), s.Flush())
		if err != nil {
			t.Error(err)
		}
		return nil
	}))
	conn := bufio.NewReader(dial(t, host, get))
	for line := ""; !strings.Contains(line, "xxx"); {
		var err error
		if line, err = conn.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	close(read)
	rest, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(rest); strings.Count(got, "data: ") != 2 || !strings.Contains(got, "data: a\n\ndata: b\n\n") {
		t.Errorf("the stream ended with %q", got)
	}
}
