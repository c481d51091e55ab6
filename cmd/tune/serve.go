package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/urfave/cli/v2"

	"tune/internal/dashboard"
	"tune/internal/runstore"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "show runs in the browser, live while they train",
		Description: "The page is for this machine alone: it is served at 127.0.0.1, and nothing on it can change a run.\n" +
			"Ctrl-C ends it. From another machine: ssh -L 8080:127.0.0.1:8080 HOST, with --port 8080 over there.\n\n" +
			"   tune serve\n" +
			"   tune serve --port 8080 --no-open",
		Flags: []cli.Flag{
			databaseFlag(),
			&cli.IntFlag{Name: "port", Usage: "the `PORT` to listen at; 0 takes a free one"},
			&cli.BoolFlag{Name: "no-open", Usage: "print the address only, and open no browser"},
		},
		Action: serve,
	}
}

func serve(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	port := c.Int("port")
	if port < 0 || port > 65535 {
		return badInput{fmt.Errorf("tune serve: --port: want 0 to 65535, got %d", port), ""}
	}
	if err := checkServed(c); err != nil {
		return err
	}
	server := dashboard.New(c.String("db"))
	address, err := server.Listen(port)
	if err != nil {
		return cannotListen(port, err)
	}
	ctx, stop := untilInterrupted(c.Context)
	defer stop()
	s := screenOf(c.App.Writer)
	fmt.Fprintf(c.App.Writer, "%s is shown at %s (Ctrl-C ends this)\n", c.String("db"), s.paint(bold, address))
	if s.terminal && !c.Bool("no-open") {
		openBrowser(address)
	}
	return server.Serve(ctx)
}

// checkServed opens the database once, so that one that cannot be shown is an error here and not in the browser. The
// usual one need not exist yet: its runs show up when they begin.
func checkServed(c *cli.Context) error {
	store, err := openRuns(c)
	if errors.Is(err, runstore.ErrNoDatabase) && !c.IsSet("db") {
		return nil
	}
	if err != nil {
		return err
	}
	return store.Close()
}

func cannotListen(port int, err error) error {
	err = fmt.Errorf("tune serve: --port %d: %w", port, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return hinted{err, "another program listens there, perhaps another tune serve; without --port a free one is taken"}
	case errors.Is(err, fs.ErrPermission):
		return hinted{err, "ports below 1024 are for root; without --port a free one is taken"}
	}
	return err
}

// openBrowser shows an address in the user's browser, where there is a display. That it cannot is no error: the address
// is printed.
func openBrowser(address string) {
	if name := browserOpener(runtime.GOOS, os.Getenv); name != "" {
		cmd := exec.Command(name, address)
		if cmd.Start() == nil {
			go func() { _ = cmd.Wait() }() // lest it stay a zombie
		}
	}
}

// browserOpener returns the program that opens an address, or "" where nobody would see it.
func browserOpener(goos string, getenv func(string) string) string {
	switch {
	case getenv("SSH_CONNECTION") != "": // the display, if any, is at the other end
		return ""
	case goos == "darwin":
		return "open"
	case getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != "":
		return "xdg-open"
	}
	return ""
}
