package kafka

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// echo is a server that says everything again.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer c.Close(); _, _ = io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	return ln.Addr().String()
}

func TestProxy(t *testing.T) {
	p, err := newProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn) (time.Duration, error) {
		start := time.Now()
		if _, err := io.WriteString(c, "ping"); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(c, make([]byte, 4))
		return time.Since(start), err
	}
	c := dial()
	if _, err := ask(c); err != nil {
		t.Fatal(err)
	}
	p.Slow(50 * time.Millisecond)
	if took, err := ask(c); err != nil || took < 100*time.Millisecond {
		t.Errorf("slowed by 50 ms each way: %s, %v", took, err)
	}
	p.Slow(0)
	p.Refuse(true)
	if _, err := ask(dial()); err == nil {
		t.Error("a connection that was to be refused was served")
	}
	if _, err := ask(c); err != nil {
		t.Errorf("refusing new connections ended an old one: %v", err)
	}
	p.Slow(time.Hour)
	answer := make(chan error, 1)
	go func() { _, err := ask(c); answer <- err }()
	for len(answer) == 0 { // whether the question is under way by now or not, it ends
		p.Cut()
		time.Sleep(time.Millisecond)
	}
	if err := <-answer; err == nil {
		t.Error("an answer through a network that swallows everything")
	}
	p.Refuse(false)
	p.Slow(0)
	if _, err := ask(dial()); err != nil {
		t.Errorf("mended: %v", err)
	}
}
