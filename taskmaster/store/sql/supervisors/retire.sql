-- The supervisor leaves in order.
delete from supervisors where id = %(supervisor)s
