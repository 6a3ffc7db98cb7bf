"""Whoever owns the database lets a tenant in again that has locked itself out by its list of networks."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# With its caller's rights, and for its owner alone: nobody who has the application's password gets around the list.
FUNCTION = """
CREATE FUNCTION public.lift_ip_allow_list(locked_out text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('app.tenant_id', locked_out, true);
    UPDATE public.tenants SET settings = settings - 'ip_allow_list', updated_at = now()
        WHERE tenant_id = locked_out AND settings ? 'ip_allow_list';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO public.audit_events
        (tenant_id, audit_id, actor_id, channel, action, resource_type, resource_id, outcome, details, at)
        VALUES (locked_out, gen_random_uuid(), session_user, 'database', 'tenant.ip_allow_list_lifted', 'tenant',
                locked_out, 'allowed', '{}', now());
    RETURN true;
END
$$
"""
NAME = "public.lift_ip_allow_list(text)"


def upgrade() -> None:
    """Makes the function."""
    op.execute(FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION {NAME} FROM PUBLIC")


def downgrade() -> None:
    """Takes it back."""
    op.execute(f"DROP FUNCTION {NAME}")
