// Package platform is the back-end service between devices and applications: it knows which device is connected with which
// application, gives each side the other's certificate, tells brokers who may use which topic, and reads nothing of what the two
// say to each other (Schrijen et al. 2019, sections II.C and III.E).
//
// Start with [Open] and [Service.Run]. A factory station's signed [Registration] goes to [Service.Register], an application provider's
// credential to [Service.Admit]; both return the bundle that the peer needs. From then on applications ask over the link, and
// [Service.Retire] and [Service.AddCRL] are the operator's part. A broker's access control asks [Service.Authenticate] and
// [Service.Allow], which answer from memory.
//
// One transaction of the [Store] holds a change with everything that follows from it: the records, the audit entry with its
// evidence, the orders to both sides, and the sealed reply under the request's epoch. A request that comes again gets the reply that it
// got before; a crash at any moment leaves all of it or nothing. What happens after the commit (publishing, nudging, cutting
// connections, asking the authority to revoke) is repeated until it succeeded, or made unnecessary by the peer asking again.
//
// The platform's own certificate ends, too. Opened with the next one, with the same keys or others, and with what it was before
// ([Config].Previous), it is understood by everybody, and everybody gets to know the next one; [Service.Outdated] says who has not.
//
// # What it does not promise
//
// The platform can refuse and delay; it cannot make a device accept a peer that the certificate authority did not certify, nor make
// anybody destroy a connection without evidence signed by others. The audit log is a chain of hashes: who can write the store can
// rewrite its end, unless [Service.AuditHead] is kept elsewhere. One process at a time may have a store open. Records of
// devices and applications are held in memory. A revocation list that does not fit into [Config].MaxReply is not handed out.
//
// The life cycle, the format of the audit log and the limits are in docs/lifecycle.md.
package platform
