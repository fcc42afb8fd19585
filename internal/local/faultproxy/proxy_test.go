package faultproxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/local/faultproxy"
	"processor/internal/local/localtest"
)

var suite = localtest.New(nil)

func TestMain(m *testing.M) { suite.Main(m) }

// setup is a proxy in front of a server that sends every line back.
func setup(t *testing.T) *faultproxy.Proxy {
	t.Helper()
	return start(t, echo(t, ""))
}

// echo is the address of a server that sends every line back, behind a greeting.
func echo(t *testing.T, greeting string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, greeting)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

func start(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	proxy, err := faultproxy.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy
}

type client struct {
	net.Conn
	lines *bufio.Reader
}

func dial(t *testing.T, proxy *faultproxy.Proxy) client {
	t.Helper()
	conn, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{conn, bufio.NewReader(conn)}
}

func (c client) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

func (c client) hear(t *testing.T, want string) {
	t.Helper()
	got, err := c.lines.ReadString('\n')
	if err != nil || got != want+"\n" {
		t.Fatalf("heard %q, %v, want %q", got, err, want)
	}
}

func (c client) wantReset(t *testing.T) {
	t.Helper()
	if got, err := c.lines.ReadString('\n'); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("heard %q, %v, want a reset", got, err)
	}
}

func (c client) wantSilence(t *testing.T) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	got, err := c.lines.ReadString('\n')
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Fatalf("heard %q, %v, want nothing", got, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func TestForwardsBothWaysAndAnOrderlyEnd(t *testing.T) {
	t.Parallel()
	c := dial(t, setup(t))
	c.say(t, "hello")
	c.hear(t, "hello")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.lines.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the server's end", err)
	}
}

func TestCutResetsWhatExistsAndLetsNewOnesIn(t *testing.T) {
	t.Parallel()
	proxy := setup(t)
	c := dial(t, proxy)
	c.say(t, "hello")
	c.hear(t, "hello")
	proxy.Cut()
	c.wantReset(t)
	again := dial(t, proxy)
	again.say(t, "again")
	again.hear(t, "again")
}

func TestNewOnesAreForwardedToAnotherServer(t *testing.T) {
	t.Parallel()
	proxy := start(t, "")
	conn, err := net.Dial("tcp", proxy.Addr())
	if err == nil { // else it was reset that soon
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("without a server: %v, want a reset", err)
	}
	proxy.Forward(echo(t, "one\n"))
	old := dial(t, proxy)
	old.hear(t, "one")
	proxy.Forward(echo(t, "two\n"))
	dial(t, proxy).hear(t, "two")
	old.say(t, "still here")
	old.hear(t, "still here")
}

func TestRefuseKeepsNewOnesOutUntilHealed(t *testing.T) {
	t.Parallel()
	proxy := setup(t)
	old := dial(t, proxy)
	old.say(t, "hello")
	old.hear(t, "hello")
	proxy.Refuse()
	if _, err := net.Dial("tcp", proxy.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("got %v, want refused", err)
	}
	old.say(t, "still here")
	old.hear(t, "still here")
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	again := dial(t, proxy)
	again.say(t, "again")
	again.hear(t, "again")
}

func TestStallSwallowsUntilHealed(t *testing.T) {
	t.Parallel()
	proxy := setup(t)
	proxy.Stall()
	c := dial(t, proxy)
	c.say(t, "anybody?")
	c.wantSilence(t)
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	c.hear(t, "anybody?")
}

func TestCutWorksDuringAStall(t *testing.T) {
	t.Parallel()
	proxy := setup(t)
	c := dial(t, proxy)
	c.say(t, "hello")
	c.hear(t, "hello")
	proxy.Stall()
	c.say(t, "anybody?")
	proxy.Cut()
	c.wantReset(t)
}

func TestDelayHoldsEachWay(t *testing.T) {
	t.Parallel()
	proxy := setup(t)
	c := dial(t, proxy)
	const delay = 20 * time.Millisecond
	proxy.Delay(delay)
	begin := time.Now()
	c.say(t, "hello")
	c.hear(t, "hello")
	if took := time.Since(begin); took < 2*delay {
		t.Errorf("there and back took %v, want at least %v", took, 2*delay)
	}
}

func TestARequestIsLostOnce(t *testing.T) {
	t.Parallel()
	proxy := setup(t)
	fired := proxy.CutRequest(faultproxy.Contains("second"))
	c := dial(t, proxy)
	c.say(t, "first")
	c.hear(t, "first")
	c.say(t, "second")
	<-fired
	c.wantReset(t)
	again := dial(t, proxy)
	again.say(t, "second")
	again.hear(t, "second")
}

func TestTheReplyToACommitThatLandedIsLost(t *testing.T) {
	t.Parallel()
	database := suite.Postgres(t)
	direct := connect(t, database)
	if _, err := direct.Exec(t.Context(), `create table notes (body text)`); err != nil {
		t.Fatal(err)
	}
	parsed, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	proxy := start(t, parsed.Host)
	through, err := proxy.URL(database)
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, through)
	fired := proxy.CutReply(faultproxy.Contains("precious"), faultproxy.PostgresDone)

	// More than the server's buffer: its first part leaves before the commit.
	const insert = `insert into notes select $1 || n from generate_series(1, 5000) n returning body`
	if _, err := conn.Exec(t.Context(), insert, "precious"); err == nil {
		t.Fatal("the client got its reply")
	}
	<-fired
	var count int
	if err := direct.QueryRow(t.Context(), `select count(*) from notes`).Scan(&count); err != nil {
		t.Fatal(err)
	}
	if count != 5000 {
		t.Errorf("%d notes, want all: the reply is lost, not the commit", count)
	}
	if _, err := connect(t, through).Exec(t.Context(), insert, "precious"); err != nil {
		t.Errorf("the retry: %v", err)
	}
}

func connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
