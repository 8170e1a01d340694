"""Users, roles, grants and what they allow, on a server with authorization on (SAKER_AUTH=HOST:PORT)."""
import os

import pytest
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, MilvusClient, MilvusException, Role, connections, utility

import data
from conftest import unique

AUTH = os.environ.get("SAKER_AUTH", "")
pytestmark = pytest.mark.skipif(not AUTH, reason="SAKER_AUTH names no server with authorization on")


def connect(alias, user, password):
    host, port = AUTH.split(":")
    connections.connect(alias, host=host, port=port, user=user, password=password, timeout=10)
    return alias


@pytest.fixture(scope="module")
def root():
    yield connect("root", "root", "Milvus")
    connections.disconnect("root")


@pytest.fixture
def user(root):
    name = unique("u")
    utility.create_user(name, "Secret123", using=root)
    yield name
    try:
        utility.delete_user(name, using=root)
    except MilvusException:
        pass


@pytest.fixture
def coll(root):
    n = unique("auth")
    c = Collection(n, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                                        FieldSchema("tag", DataType.VARCHAR, max_length=64),
                                        FieldSchema("v", DataType.FLOAT_VECTOR, dim=4)]), using=root, consistency_level="Strong")
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
    yield c
    c.drop()


@pytest.mark.parametrize("user,password", [("root", "wrong"), ("nobody", "Milvus"), ("", ""), ("root", "")])
def test_wrong_password(user, password):
    with pytest.raises(Exception):
        connect("bad", user, password)
        utility.list_collections(using="bad", timeout=5)


def test_users(root, user):
    assert {"root", user} <= set(utility.list_usernames(using=root))
    with pytest.raises(MilvusException) as e:
        utility.create_user(user, "Secret123", using=root)
    assert "user already exists" in str(e.value)
    connect("u1", user, "Secret123")
    utility.reset_password(user, "Secret123", "Other456", using="u1")
    connections.disconnect("u1")
    connect("u1", user, "Other456")
    connections.disconnect("u1")
    with pytest.raises(Exception):
        connect("u2", user, "Secret123")
        utility.list_collections(using="u2", timeout=5)


@pytest.mark.parametrize("name,password", [("1bad", "Secret123"), ("a" * 33, "Secret123"), ("good", "short"), ("good", "x" * 300),
                                           ("a-b", "Secret123")])
def test_bad_users(root, name, password):
    with pytest.raises(MilvusException):
        utility.create_user(name, password, using=root)


def test_root_stays(root):
    with pytest.raises(MilvusException):
        utility.delete_user("root", using=root)


def test_roles_and_grants(root, user, coll):
    role = Role(unique("r"), using=root)
    role.create()
    assert role.is_exist() and role.name in [g.role_name for g in utility.list_roles(False, using=root).groups]
    with pytest.raises(Exception):
        role.create()
    role.add_user(user)
    assert user in role.get_users()
    assert role.name in utility.list_user(user, True, using=root).groups[0].roles
    u = connect("limited", user, "Secret123")
    with pytest.raises(Exception) as e:   # the denial comes as gRPC's PERMISSION_DENIED
        Collection(coll.name, using=u).insert(data.small_columns([1]))
    assert "permission deny" in str(e.value) and "PrivilegeInsert" in str(e.value)
    role.grant("Collection", coll.name, "Insert")
    role.grant("Global", "*", "DescribeCollection")
    grants = {(g.object, g.object_name, g.privilege) for g in role.list_grants().groups}
    assert ("Collection", coll.name, "Insert") in grants
    assert len(role.list_grant("Collection", coll.name).groups) == 1
    Collection(coll.name, using=u).insert(data.small_columns([1]))
    with pytest.raises(Exception):
        Collection(coll.name, using=u).search([[0.0] * 4], "v", {}, 1)
    role.grant("Collection", "*", "Search")
    assert len(Collection(coll.name, using=u).search([[0.0] * 4], "v", {}, 1)[0]) == 1
    with pytest.raises(Exception):
        Collection(coll.name, using=u).drop()
    role.revoke("Collection", coll.name, "Insert")
    with pytest.raises(Exception):
        Collection(coll.name, using=u).insert(data.small_columns([2]))
    with pytest.raises(Exception):
        role.drop()   # it still has grants
    role.revoke("Collection", "*", "Search")
    role.revoke("Global", "*", "DescribeCollection")
    role.remove_user(user)
    role.drop()
    assert not role.is_exist()
    connections.disconnect("limited")


def test_admin_role(root, user, coll):
    Role("admin", using=root).add_user(user)
    u = connect("boss", user, "Secret123")
    Collection(coll.name, using=u).insert(data.small_columns([5]))
    assert coll.name in utility.list_collections(using=u)
    connections.disconnect("boss")
    for built_in in ("admin", "public"):
        with pytest.raises(MilvusException):
            Role(built_in, using=root).drop()


def test_unknown_privilege(root, coll):
    role = Role(unique("r"), using=root)
    role.create()
    for what in (("Collection", coll.name, "Fly"), ("Planet", "*", "Search")):
        with pytest.raises(MilvusException):
            role.grant(*what)
    role.drop()


def test_token_login(root):
    c = MilvusClient(uri=f"http://{AUTH}", token="root:Milvus")
    assert isinstance(c.list_collections(), list)
    c.close()


@pytest.mark.newest
@pytest.mark.later
def test_grant_v2(root, user, coll):
    c = MilvusClient(uri=f"http://{AUTH}", token="root:Milvus")
    role = unique("r")
    c.create_role(role)
    c.grant_role(user, role)
    c.grant_privilege_v2(role, "Insert", coll.name, db_name="default")
    assert any(p["privilege"] == "Insert" for p in c.describe_role(role)["privileges"])
    limited = MilvusClient(uri=f"http://{AUTH}", token=f"{user}:Secret123")
    limited.insert(coll.name, [{"id": 1, "tag": "a", "v": [0.0] * 4}])
    c.revoke_privilege_v2(role, "Insert", coll.name, db_name="default")
    with pytest.raises(Exception):
        limited.insert(coll.name, [{"id": 2, "tag": "a", "v": [0.0] * 4}])
    c.revoke_role(user, role)
    c.drop_role(role)
    limited.close()
    c.close()
