-- Settle a batch whose jobs all acked. No row back: the lease was lost, nothing is written.
delete from leases where token = %(token)s returning true
