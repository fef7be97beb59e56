package fuzzy_test

import (
	"fmt"

	"github.com/semio-iot/semio/fuzzy"
)

// At the factory a chip is enrolled once. At each boot its root key comes back
// from a fresh reading, here with 6 % of the bits changed.
func Example() {
	chip := fuzzy.NewChip(1, fuzzy.Balanced(0.5, 0.06)) // stands for 1 KB of SRAM

	key, helper, err := fuzzy.Enroll(fuzzy.SRAM1K(), nil, chip.Read())
	if err != nil {
		fmt.Println(err)
		return
	}
	key.Wipe()
	stored := helper.Bytes() // in any memory; its hash goes into the certificate

	helper, err = fuzzy.ParseHelperData(stored)
	if err != nil {
		fmt.Println(err)
		return
	}
	key, report, err := fuzzy.Reconstruct(chip.Read(), helper)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer key.Wipe()
	lock, err := key.Derive("disk encryption", nil, 32)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer clear(lock)
	fmt.Println("root key:", key)
	fmt.Println("derived bytes:", len(lock))
	fmt.Println("helper data at most 1,024 bytes:", len(stored) <= 1024)
	fmt.Println("far from failing:", report.Margin() > 0.2)

	_, _, err = fuzzy.Reconstruct(fuzzy.NewChip(2, fuzzy.Balanced(0.5, 0.06)).Read(), helper)
	fmt.Println("another chip:", err)
	// Output:
	// root key: [redacted]
	// derived bytes: 32
	// helper data at most 1,024 bytes: true
	// far from failing: true
	// another chip: reconstruct: fuzzy: response and helper data do not match
}
