package broker

import (
	"errors"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/semio-iot/semio/identity"
)

// denied is a topic and filter that nobody may use: what is refused for its form takes its place, because mochi has no refusal
// for it or none that the client hears of.
const denied = "$denied"

// hook is the only one: mochi allows what any one of several hooks allows.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "semio" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnSubscribe,
		mqtt.OnWill, mqtt.OnPublishDropped, mqtt.OnClientExpired:
		return true
	}
	return false
}

// OnConnect decides, and answers with a reason of its own: mochi calls every refused authentication a bad password.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return packets.ErrNotAuthorized
	}
	code, err := h.connect(c, cl, pk)
	if err != nil {
		h.b.stats.refused.Add(1)
		h.b.cfg.Logger.Warn("connection refused", "id", c.id, "client", pk.Connect.ClientIdentifier, "error", err)
		_ = h.b.server.SendConnack(cl, code, false, nil)
		return code
	}
	return nil
}

func (h *hook) connect(c *conn, cl *mqtt.Client, pk packets.Packet) (packets.Code, error) {
	clientID := pk.Connect.ClientIdentifier
	id, instance, err := identity.ParseClientID(clientID)
	switch {
	case err != nil:
		return packets.ErrClientIdentifierNotValid, err
	case id != c.id:
		return packets.ErrClientIdentifierNotValid, errors.New("broker: client ID is not that of the certificate")
	case c.instance != "" && c.instance != instance:
		return packets.ErrClientIdentifierNotValid, errors.New("broker: client ID is not the instance of the certificate")
	case pk.Properties.AuthenticationMethod != "":
		return packets.ErrBadAuthenticationMethod, errors.New("broker: extended authentication is not supported")
	}
	h.adopt(c, cl)
	if err := h.b.claim(c, clientID); err != nil {
		return packets.ErrServerBusy, err
	}
	if err := h.b.authenticate(c, clientID); err != nil {
		return packets.ErrNotAuthorized, err
	}
	if pk.Connect.WillFlag {
		h.observe(c, pk.Connect.WillTopic, pk.Connect.WillPayload)
		if !h.allow(c, clientID, ActionPublish, pk.Connect.WillTopic) {
			return packets.ErrNotAuthorized, errors.New("broker: will on a topic that is not allowed")
		}
	}
	return packets.CodeSuccess, nil
}

// adopt takes over from mochi what it does not do well.
func (h *hook) adopt(c *conn, cl *mqtt.Client) {
	cl.Properties.Username = []byte(c.id.String())
	// A delayed will leaves mochi without any check, also of a client that was evicted since.
	cl.Properties.Will.WillDelayInterval = 0
	// An alias would be set in a packet that may be dropped, and asked of in one that is not.
	cl.Properties.Props.TopicAliasMaximum = 0

	receiveMaximum := int(cl.Properties.Props.ReceiveMaximum)
	cl.Properties.Props.ReceiveMaximum = 0
	cl.State.Inflight.ResetSendQuota(0) // none: see window

	longest := uint16(h.b.cfg.Limits.KeepAlive / time.Second)
	if k := cl.State.Keepalive; k == 0 || k > longest {
		cl.State.Keepalive, cl.State.ServerKeepalive = longest, true
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.client = cl
	if receiveMaximum > 0 {
		c.held.size = receiveMaximum
	}
}

// OnConnectAuthenticate comes after OnConnect. It asks once more whether that happened.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	c, ok := cl.Net.Conn.(*conn)
	return ok && c.clientID == cl.ID && !c.evicted.Load()
}

// OnACLCheck is asked for publications, and without any difference for filters and for deliveries.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return false
	}
	action := ActionReceive
	switch {
	case write:
		action = ActionPublish
	case topic == denied:
		return false // counted in OnSubscribe
	case strings.ContainsAny(topic, "+#"):
		action = ActionSubscribe // published topics have none
	}
	return h.allow(c, cl.ID, action, topic)
}

func (h *hook) allow(c *conn, clientID string, a Action, topic string) bool {
	ok := topic != "" && topic[0] != '$' && !c.evicted.Load() && (a == ActionSubscribe || !strings.ContainsAny(topic, "+#")) &&
		h.b.allows(c, clientID, a, topic)
	if !ok {
		h.b.stats.denied.Add(1)
		h.b.cfg.Logger.Debug("not allowed", "id", c.id, "client", clientID, "action", a.String(), "topic", topic)
	}
	return ok
}

// OnSubscribe judges filters without wildcards, which OnACLCheck takes for deliveries.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c, ok := cl.Net.Conn.(*conn)
	have := cl.State.Subscriptions.GetAll()
	for i := range pk.Filters {
		f := pk.Filters[i].Filter
		_, again := have[f]
		switch {
		case !ok, !again && len(have) >= h.b.cfg.Limits.Subscriptions, f == denied:
			pk.Filters[i].Filter = denied
			h.b.stats.denied.Add(1)
		case !strings.ContainsAny(f, "+#") && !h.allow(c, cl.ID, ActionSubscribe, f):
			pk.Filters[i].Filter = denied
		default:
			have[f] = pk.Filters[i]
		}
	}
	return pk
}

// OnPacketRead refuses what the broker announced not to take. Its only error with an effect is ErrRejectPacket, which ends the
// connection.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return pk, packets.ErrRejectPacket
	}
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return h.readPublish(c, cl, pk)
	case packets.Subscribe, packets.Unsubscribe:
		pk.PacketID = c.ids.replace(cl, uint16(c.lastOut.Load()), pk.PacketID)
	case packets.Puback:
		c.acknowledged(pk.PacketID)
	case packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return h.reject(cl, pk, packets.ErrProtocolViolation)
	case packets.Disconnect:
		// mochi limits the session expiry of CONNECT only.
		if longest := uint32(h.b.cfg.Limits.SessionExpiry / time.Second); pk.Properties.SessionExpiryInterval > longest {
			pk.Properties.SessionExpiryInterval = longest
		}
	}
	return pk, nil
}

func (h *hook) readPublish(c *conn, cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.observe(c, pk.TopicName, pk.Payload)
	switch {
	case pk.FixedHeader.Retain:
		return h.reject(cl, pk, packets.ErrRetainNotSupported)
	case pk.FixedHeader.Qos > 1:
		return h.reject(cl, pk, packets.ErrQosNotSupported)
	case strings.ContainsAny(pk.TopicName, "+#"):
		return h.reject(cl, pk, packets.ErrTopicNameInvalid)
	case strings.HasPrefix(pk.TopicName, "$"):
		pk.TopicName = denied // mochi gives no answer at all for $SYS
	}
	if pk.FixedHeader.Qos > 0 {
		pk.PacketID = c.ids.replace(cl, uint16(c.lastOut.Load()), pk.PacketID)
	}
	return pk, nil
}

func (h *hook) reject(cl *mqtt.Client, pk packets.Packet, code packets.Code) (packets.Packet, error) {
	h.b.cfg.Logger.Warn("packet not accepted, connection ended", "client", cl.ID, "reason", code.Reason)
	_ = h.b.server.DisconnectClient(cl, code)
	return pk, packets.ErrRejectPacket
}

func (h *hook) observe(c *conn, topic string, payload []byte) {
	if h.b.cfg.Observer != nil {
		h.b.cfg.Observer(c.id, topic, payload)
	}
}

// OnPacketEncode completes CONNACK, in which mochi leaves out most of what it does not support, and gives answers the packet ID
// of their request.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		p := &pk.Properties
		p.RetainAvailable, p.RetainAvailableFlag = 0, true
		p.SharedSubAvailable, p.SharedSubAvailableFlag = 0, true
		p.MaximumPacketSize = uint32(h.b.cfg.Limits.PacketSize)
	case packets.Publish:
		if pk.FixedHeader.Qos > 0 {
			c.lastOut.Store(uint32(pk.PacketID))
		}
	case packets.Puback, packets.Suback, packets.Unsuback:
		pk.PacketID = c.ids.restore(pk.PacketID)
	}
	return pk
}

// OnWill empties a will that may not be sent any more: a message without topic goes to nobody.
func (h *hook) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || !h.allow(c, cl.ID, ActionPublish, will.TopicName) {
		return mqtt.Will{}, nil
	}
	return will, nil
}

// OnPublishDropped is told of a message that mochi drops for a live client, after it was acknowledged to its sender. The
// client would not know that something is missing.
func (h *hook) OnPublishDropped(cl *mqtt.Client, _ packets.Packet) {
	if c, ok := cl.Net.Conn.(*conn); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closing {
			c.cut()
		}
	}
}

// OnClientExpired removes the subscriptions, which mochi leaves in its index.
func (h *hook) OnClientExpired(cl *mqtt.Client) { h.b.purge(cl) }
