package delivery_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/delivery"
)

// frames has one of each shape with its bytes, which are the wire format and the storage format: they do not change.
var frames = []struct {
	name  string
	frame delivery.Frame
	hex   string
}{
	{"event", delivery.Frame{Kind: delivery.KindEvent, Seq: 7, Low: 5, Type: "t", Body: []byte("hi")},
		"11 00 0000000000000007 0000000000000005 01 74 6869"},
	{"event with ack", delivery.Frame{Kind: delivery.KindEvent, HasAck: true, Ack: 9, Seq: 1, Low: 1, Body: []byte{0}},
		"11 01 0000000000000009 0000000000000001 0000000000000001 00 00"},
	{"volatile event", delivery.Frame{Kind: delivery.KindEvent, Type: "é", Body: []byte{}},
		"11 00 0000000000000000 0000000000000000 02 c3a9"},
	{"ack", delivery.Frame{Kind: delivery.KindAck, HasAck: true, Ack: 0x0102030405060708},
		"12 01 0102030405060708"},
	{"ack with clock", delivery.Frame{Kind: delivery.KindAck, HasAck: true, HasClock: true, Clock: 1000},
		"12 03 0000000000000000 00000000000003e8"},
	{"ack that asks", delivery.Frame{Kind: delivery.KindAck, HasAck: true, Ack: 1, HasClock: true, Clock: 2, WantClock: true},
		"12 07 0000000000000001 0000000000000002"},
	{"call", delivery.Frame{Kind: delivery.KindCall, Seq: 3, Low: 2, Deadline: 30000, Type: "a/b", Body: []byte("?")},
		"13 00 0000000000000003 0000000000000002 0000000000007530 03 612f62 3f"},
	{"reply", delivery.Frame{Kind: delivery.KindReply, Seq: 3, Type: "a/b", Body: []byte("!")},
		"14 00 0000000000000003 00 03 612f62 21"},
	{"error", delivery.Frame{Kind: delivery.KindReply, Seq: 3, Status: delivery.StatusError, Body: []byte("no")},
		"14 00 0000000000000003 01 00 6e6f"},
	{"unknown", delivery.Frame{Kind: delivery.KindReply, Seq: 3, Status: delivery.StatusUnknown, Body: []byte{}},
		"14 00 0000000000000003 02 00"},
	{"expired", delivery.Frame{Kind: delivery.KindReply, Seq: 3, Status: delivery.StatusExpired, Body: []byte{}},
		"14 00 0000000000000003 03 00"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestFrameBytes(t *testing.T) {
	for _, tc := range frames {
		t.Run(tc.name, func(t *testing.T) {
			want := unhex(t, tc.hex)
			require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(tc.frame.Append(nil)))
			require.Equal(t, append([]byte("x"), want...), tc.frame.Append([]byte("x")), "append to a prefix")
			got, err := delivery.ParseFrame(want)
			require.NoError(t, err)
			require.Equal(t, tc.frame, got)
		})
	}
}

func TestFrameRefused(t *testing.T) {
	for name, s := range map[string]string{
		"empty":                        "",
		"one byte":                     "11",
		"version 0":                    "01 00 0000000000000007 0000000000000005 00",
		"version 2":                    "21 00 0000000000000007 0000000000000005 00",
		"kind 0":                       "10 00 0000000000000007 0000000000000005 00",
		"kind 5":                       "15 00 0000000000000007 0000000000000005 00",
		"flag 3":                       "11 08 0000000000000007 0000000000000005 00",
		"flag 7":                       "12 81 0000000000000007",
		"ack cut off":                  "12 01 00000000000007",
		"clock cut off":                "12 03 0000000000000007 00000000",
		"ack without number":           "12 00",
		"ack with clock but no number": "12 02 0000000000000007",
		"ack with a body":              "12 01 0000000000000007 00",
		"event without type":           "11 00 0000000000000007 0000000000000005",
		"event cut off":                "11 00 0000000000000007 00000000000005",
		"event, type cut off":          "11 00 0000000000000007 0000000000000005 02 61",
		"event, type not UTF-8":        "11 00 0000000000000007 0000000000000005 01 ff",
		"event, low above number":      "11 00 0000000000000007 0000000000000008 00",
		"event, low 0":                 "11 00 0000000000000007 0000000000000000 00",
		"volatile event with low":      "11 00 0000000000000000 0000000000000001 00",
		"call 0":                       "13 00 0000000000000000 0000000000000000 0000000000007530 00",
		"call, low 0":                  "13 00 0000000000000001 0000000000000000 0000000000007530 00",
		"call, low above number":       "13 00 0000000000000001 0000000000000002 0000000000007530 00",
		"call without deadline":        "13 00 0000000000000001 0000000000000001",
		"reply 0":                      "14 00 0000000000000000 00 00",
		"reply without status":         "14 00 0000000000000001",
		"reply of status 4":            "14 00 0000000000000001 04 00",
		"error with type":              "14 00 0000000000000001 01 01 61",
		"error not UTF-8":              "14 00 0000000000000001 01 00 ff",
		"unknown with body":            "14 00 0000000000000001 02 00 61",
		"unknown with type":            "14 00 0000000000000001 02 01 61",
		"expired with body":            "14 00 0000000000000001 03 00 61",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := delivery.ParseFrame(unhex(t, s))
			require.ErrorIs(t, err, delivery.ErrFrame)
		})
	}
	long := map[string]delivery.Frame{
		"body":       {Kind: delivery.KindEvent, Seq: 1, Low: 1, Body: make([]byte, delivery.MaxBody+1)},
		"error text": {Kind: delivery.KindReply, Seq: 1, Status: delivery.StatusError, Body: make([]byte, delivery.MaxErrorText+1)},
		"all of it":  {Kind: delivery.KindEvent, Seq: 1, Low: 1, Body: make([]byte, delivery.MaxFrame)},
	}
	for name, f := range long {
		t.Run("too long: "+name, func(t *testing.T) {
			_, err := delivery.ParseFrame(f.Append(nil))
			require.ErrorIs(t, err, delivery.ErrFrame)
		})
	}
	longest := delivery.Frame{
		Kind: delivery.KindCall, HasAck: true, HasClock: true, WantClock: true, Seq: 1, Low: 1,
		Type: strings.Repeat("t", delivery.MaxType), Body: make([]byte, delivery.MaxBody),
	}
	b := longest.Append(nil)
	require.Len(t, b, delivery.MaxFrame)
	got, err := delivery.ParseFrame(b)
	require.NoError(t, err)
	require.Equal(t, longest, got)
}

func FuzzFrame(f *testing.F) {
	for _, tc := range frames {
		f.Add(unhex(f, tc.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := delivery.ParseFrame(b)
		if err != nil {
			require.ErrorIs(t, err, delivery.ErrFrame)
			require.Equal(t, delivery.Frame{}, got)
			return
		}
		require.True(t, bytes.Equal(b, got.Append(nil)), "two encodings of %+v", got)
	})
}
