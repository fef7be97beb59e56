// Package opensslca lets semio work with a certificate authority that is not its own: `openssl ca`, in a folder on this machine. [CA] is a
// ca.Client; it is of use as it is for a laboratory or for an authority that is run with OpenSSL today, and it is the pattern for an
// adapter over another product: who asks stays the same, the profiles lie with the authority, and the adapter checks what comes back.
//
// setup.sh beside this file makes the folder, with openssl.cnf, which has the profiles of docs/identity.md:
//
//	identity/ca/opensslca/setup.sh FOLDER "Example root"
//	authority, err := opensslca.Open(opensslca.Config{Dir: "FOLDER"})
//	chain, err := authority.Issue(ctx, csr, ca.IssueOptions{})
//
// or, by hand, in that folder:
//
//	openssl ca -config openssl.cnf -batch -notext -in device.csr -enddate 99991231235959Z -out device.pem
//	openssl ca -config openssl.cnf -revoke device.pem
//	openssl ca -config openssl.cnf -gencrl -out crl.pem
//
// # Rules
//
// OpenSSL signs what it is given. The rules of package ca (a device's name has one key for ever, a key has one name, nothing for what was
// revoked) are kept by the adapter, which reads OpenSSL's database of what was issued: whoever runs openssl by hand must keep them
// himself. One process at a time uses a folder; OpenSSL has no lock.
//
// # Folder
//
//	openssl.cnf           profiles; read by openssl
//	ca.pem, ca.key        certificate and key of the authority
//	index.txt, newcerts/  OpenSSL's database and what was issued
//	crlnumber, crl.pem    number of the next list, and the newest list
package opensslca
