"""Resource groups and replicas on a server with one querynode, as pymilvus drives them."""
import pytest
from pymilvus import MilvusException, utility

from conftest import unique

DEFAULT = "__default_resource_group"


@pytest.fixture
def group():
    name = unique("rg")
    utility.create_resource_group(name)
    yield name
    if name in utility.list_resource_groups():
        nodes = utility.describe_resource_group(name).num_available_node
        if nodes:
            utility.transfer_node(name, DEFAULT, nodes)
        utility.drop_resource_group(name)


def test_the_default_group_has_every_node():
    assert DEFAULT in utility.list_resource_groups()
    info = utility.describe_resource_group(DEFAULT)
    assert (info.name, info.capacity, info.num_available_node) == (DEFAULT, 1000000, 1)
    with pytest.raises(MilvusException, match="delete default rg is not permitted"):
        utility.drop_resource_group(DEFAULT)


def test_nodes_move_between_groups(group):
    info = utility.describe_resource_group(group)
    assert (info.capacity, info.num_available_node) == (0, 0)
    utility.transfer_node(DEFAULT, group, 1)
    info = utility.describe_resource_group(group)
    assert (info.capacity, info.num_available_node) == (1, 1)
    assert utility.describe_resource_group(DEFAULT).num_available_node == 0
    with pytest.raises(MilvusException, match="nodes not enough"):
        utility.transfer_node(DEFAULT, group, 1)
    with pytest.raises(MilvusException, match="delete non-empty rg is not permitted"):
        utility.drop_resource_group(group)
    utility.transfer_node(group, DEFAULT, 1)
    assert utility.describe_resource_group(DEFAULT).num_available_node == 1
    utility.drop_resource_group(group)
    assert group not in utility.list_resource_groups()
    utility.drop_resource_group(group)  # what isn't there may be dropped


def test_what_is_wrong_is_said(group):
    with pytest.raises(MilvusException, match="resource group already exist"):
        utility.create_resource_group(group)
    for name in ("12-s", "(mn)", "qw$_o90", "a" * 256):
        with pytest.raises(MilvusException, match="Invalid resource group name"):
            utility.create_resource_group(name)
    with pytest.raises(MilvusException) as missing:
        utility.describe_resource_group("nowhere")
    assert missing.value.code == 300
    for number in (0, -1):
        with pytest.raises(MilvusException, match="NumNode > 0"):
            utility.transfer_node(DEFAULT, group, number)
    with pytest.raises(MilvusException, match="source resource group not found"):
        utility.transfer_node("nowhere", group, 1)


def test_a_collection_is_loaded_into_a_group(group, name):
    from pymilvus import Collection, CollectionSchema, DataType, FieldSchema
    collection = Collection(name, CollectionSchema([FieldSchema("id", DataType.INT64, is_primary=True),
                                                 FieldSchema("v", DataType.FLOAT_VECTOR, dim=4)]))
    collection.insert([[1, 2], [[0.1] * 4, [0.2] * 4]])
    collection.flush()
    collection.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    with pytest.raises(MilvusException, match="node lacks"):
        collection.load(_resource_groups=[group])
    utility.transfer_node(DEFAULT, group, 1)
    collection.load(_resource_groups=[group])
    assert len(collection.search([[0.1] * 4], "v", {}, 2, consistency_level="Strong")[0]) == 2
    replicas = collection.get_replicas()
    assert [g.resource_group for g in replicas.groups] == [group]
    assert len(replicas.groups[0].group_nodes) == 1 and len(replicas.groups[0].shards) == 1
    assert utility.describe_resource_group(group).num_loaded_replica == {collection.name: 1}
    with pytest.raises(MilvusException, match="release it first"):
        utility.drop_resource_group(group)
    with pytest.raises(MilvusException, match="node lacks"):
        utility.transfer_replica(group, DEFAULT, collection.name, 1)


@pytest.mark.newest
def test_milvus_client_has_them_too(client):
    from pymilvus.client.types import ResourceGroupConfig
    name = unique("rg")
    client.create_resource_group(name, config=ResourceGroupConfig(requests={"node_num": 1}, limits={"node_num": 1}))
    assert name in client.list_resource_groups()
    assert client.describe_resource_group(name).config.requests.node_num == 1
    client.update_resource_groups({name: ResourceGroupConfig(requests={"node_num": 0}, limits={"node_num": 0})})
    client.drop_resource_group(name)
    assert name not in client.list_resource_groups()
