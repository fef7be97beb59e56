package link_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
)

func TestCheckTopic(t *testing.T) {
	for _, topic := range []string{"a", "/", "a//b", "semio/1/app/A-WATER/00/D-1/up", "$SYS", "ä", strings.Repeat("x", link.MaxTopic)} {
		require.NoError(t, link.CheckTopic(topic), "%.20q", topic)
	}
	for _, topic := range []string{"", "+", "a/+/b", "a#", "#", "a\x00", "a\nb", "\x7f", "\u0085", "\xff", "\xed\xa0\x80", strings.Repeat("x", link.MaxTopic+1)} {
		require.Error(t, link.CheckTopic(topic), "%.20q", topic)
	}
}

func TestCheckFilters(t *testing.T) {
	require.NoError(t, link.CheckFilters())
	for _, f := range []string{"a", "+", "#", "a/+/b", "a/#", "+/+/#", "/+", "+/"} {
		require.NoError(t, link.CheckFilters(f), f)
	}
	for _, f := range []string{"", "a+", "+a", "a/b+/c", "a#", "#/a", "a/#/b", "##", "++", "a\x00", "\xff", strings.Repeat("x", link.MaxTopic+1)} {
		require.Error(t, link.CheckFilters(f), "%.20q", f)
		require.Error(t, link.CheckFilters("ok", f), "%.20q", f)
	}
}
