package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/partycmd"
	"github.com/semio-iot/semio/identity"
)

// client is what the commands that ask the running process have in common.
type client struct {
	dir  *string
	wait *time.Duration
}

func newClient(f *cli.Flags) client {
	c := client{partycmd.Flag(f), f.Duration("wait", 30*time.Second, "`time` to wait for the outcome")}
	f.JSON()
	return c
}

// ask sends a request to the running process.
func (c client) ask(ctx context.Context, what string, r request) (answer, error) {
	name := filepath.Join(*c.dir, socketName)
	r.Seconds = int(max(*c.wait, time.Second) / time.Second)
	body, err := json.Marshal(r)
	if err != nil {
		return answer{}, err
	}
	// The process answers in time, or something is wrong with it.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.Seconds)*time.Second+10*time.Second)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", name)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://application/"+what, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	resp, err := transport.RoundTrip(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return answer{}, fmt.Errorf("the application does not run in %s: start it with application run -party %s -broker URL", *c.dir, *c.dir)
	case err != nil:
		return answer{}, fmt.Errorf("ask the running application: %w", err)
	}
	defer resp.Body.Close()
	var a answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&a); err != nil {
		return answer{}, fmt.Errorf("answer of the running application (%s): %w", resp.Status, err)
	}
	if a.Error != "" {
		return answer{}, errors.New(a.Error)
	}
	return a, nil
}

func setupConnect(f *cli.Flags) cli.Action {
	c := newClient(f)
	photo := f.String("photo", "", "`file` with a photo of the sticker, JPEG or PNG")
	return func(ctx context.Context, t *cli.Terminal, args []string) error {
		s, err := sticker(*photo, args, t.In)
		if err != nil {
			return err
		}
		a, err := c.ask(ctx, "connect", request{Sticker: s.Encode()})
		if err != nil {
			return err
		}
		return t.Print(a, "%s is connected; it follows as soon as it can be reached.", a.Device)
	}
}

// sticker takes it from where the command line says. Only the person with the sticker can correct it, so it is looked at before anything
// is asked.
func sticker(photo string, args []string, in io.Reader) (identity.Sticker, error) {
	switch {
	case photo != "" && len(args) > 0:
		return identity.Sticker{}, cli.Usage("give the sticker or its photo, not both")
	case photo != "":
		return stickerOf(photo)
	case len(args) == 0:
		return identity.Sticker{}, cli.Usage("type the sticker's text (SEMIO1:D-…), name its photo with -photo, or give - to read the text from stdin")
	case len(args) == 1 && args[0] == "-":
		text, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return identity.Sticker{}, fmt.Errorf("read the sticker: %w", err)
		}
		return identity.ParseSticker(text)
	}
	return identity.ParseSticker(strings.Join(args, " "))
}

func setupDisconnect(f *cli.Flags) cli.Action {
	c := newClient(f)
	return func(ctx context.Context, t *cli.Terminal, args []string) error {
		if len(args) != 1 {
			return cli.Usage("name one device")
		}
		a, err := c.ask(ctx, "disconnect", request{Device: args[0]})
		if err != nil {
			return err
		}
		return t.Print(a, "%s is disconnected; it follows as soon as it can be reached.", a.Device)
	}
}

func setupCall(f *cli.Flags) cli.Action {
	c := newClient(f)
	return func(ctx context.Context, t *cli.Terminal, args []string) error {
		if len(args) < 2 {
			return cli.Usage("name a device and say what it shall do, for example: D-… temperature")
		}
		a, err := c.ask(ctx, "call", request{Device: args[0], Text: strings.Join(args[1:], " ")})
		if err != nil {
			return err
		}
		return t.Print(a, "%s", cli.Printable(a.Text))
	}
}

func setupSend(f *cli.Flags) cli.Action {
	c := newClient(f)
	return func(ctx context.Context, t *cli.Terminal, args []string) error {
		if len(args) < 2 {
			return cli.Usage("name a device and a text")
		}
		a, err := c.ask(ctx, "send", request{Device: args[0], Text: strings.Join(args[1:], " ")})
		if err != nil {
			return err
		}
		return t.Print(a, "event %d for %s is kept and will be delivered.", a.Seq, a.Device)
	}
}

func setupList(f *cli.Flags) cli.Action {
	c := newClient(f)
	return func(ctx context.Context, t *cli.Terminal, _ []string) error {
		a, err := c.ask(ctx, "list", request{})
		if err != nil {
			return err
		}
		if !t.JSON() && len(a.Devices) == 0 {
			return t.Print(nil, "no device is connected")
		}
		for _, d := range a.Devices {
			if err := t.Print(d, "%-34s %s, %d events queued", d.Device, d.State, d.Queued); err != nil {
				return err
			}
		}
		return nil
	}
}
