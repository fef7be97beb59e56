package puf_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// Two power-ups of a chip, the part of it that serves as the PUF, and what the checks say.
func Example() {
	ctx := context.Background()
	chip := pufsim.New(1, pufsim.Config{Size: 4096}) // on hardware: its own Source
	window := puf.Window(chip, 2048, 1024)

	first, second := make([]byte, window.Size()), make([]byte, window.Size())
	for _, reading := range [][]byte{first, second} {
		if err := window.Measure(ctx, reading); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("reading:", puf.Check(first, puf.Limits{}))
	fmt.Println("pair:", puf.CheckPair(first, second, puf.Limits{}))

	clear(first[100:200]) // start-up code has written here
	err := puf.Check(first, puf.Limits{})
	fmt.Println("written:", errors.Is(err, puf.ErrRepeating))
	var fault *puf.CheckError
	if errors.As(err, &fault) {
		fmt.Println("from byte:", fault.Offset)
	}
	// Output:
	// reading: <nil>
	// pair: <nil>
	// written: true
	// from byte: 100
}

// A folder of dumps gives a power-up for each file.
func ExampleOpenDir() {
	dir, err := os.MkdirTemp("", "dumps")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"01.bin", "02.bin"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	src, err := puf.OpenDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	reading := make([]byte, src.Size())
	for {
		err := src.Measure(context.Background(), reading)
		if errors.Is(err, puf.ErrExhausted) {
			fmt.Println("no more")
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", reading)
	}
	// Output:
	// 01.bin
	// 02.bin
	// no more
}
