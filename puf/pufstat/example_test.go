package pufstat_test

import (
	"context"
	"fmt"
	"log"

	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/pufstat"
)

// Two chips of one kind, and the pairing stride that their device profile should have.
func Example() {
	var chips []*pufstat.Chip
	for seed := range uint64(2) {
		source := pufsim.New(seed, pufsim.Config{Size: 16 << 10}) // on hardware: its own puf.Source, or puf.OpenDir
		var readings [][]byte
		for range 5 {
			b := make([]byte, source.Size())
			if err := source.Measure(context.Background(), b); err != nil {
				log.Fatal(err)
			}
			readings = append(readings, b)
		}
		chip, err := pufstat.New(readings...)
		if err != nil {
			log.Fatal(err)
		}
		chips = append(chips, chip)
	}
	between, err := pufstat.Between(chips[0], chips[1], 1024)
	if err != nil {
		log.Fatal(err)
	}
	neighbours, err := pufstat.AtStride(chips, 1024, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("a power-up differs in %.0f %% of the bits, another chip in %.0f %%\n",
		100*pufstat.Summarize(chips[0].Within(1024)).Mean, 100*pufstat.Summarize(between).Mean)
	fmt.Println("neighbours give symbols of more than 0.95 bit:", neighbours.Entropy > 0.95)
	// Output:
	// a power-up differs in 5 % of the bits, another chip in 50 %
	// neighbours give symbols of more than 0.95 bit: true
}
