-- Remove a supervisor that leaves in order.
delete from supervisors where id = %(supervisor)s
