-- Settle a batch whose jobs all acked. Returns no row if the lease was lost, and then nothing is
-- written.
delete from leases where token = %(token)s returning true as settled
